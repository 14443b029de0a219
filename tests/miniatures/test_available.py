"""Where the miniatures are, and their checksums."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from diffolio import miniatures
from diffolio.errors import UnknownName


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(miniatures, "WEIGHTS", tmp_path)
    (tmp_path / "mini-b" / "unet").mkdir(parents=True)
    (tmp_path / "mini-b" / "model_index.json").write_text("{}")
    (tmp_path / "mini-b" / "unet" / "config.json").write_text("{1}")
    (tmp_path / "mini-a").mkdir()
    (tmp_path / "mini-a" / "config.json").write_text("{2}")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_folders_with_a_configuration_are_available(weights: Path) -> None:
    assert miniatures.available() == ["mini-a", "mini-b"]
    assert miniatures.folder("mini-b") == weights / "mini-b"
    with pytest.raises(UnknownName, match="Did you mean mini-a"):
        miniatures.folder("mini-aa")


def test_checksums_are_recorded_and_tell_a_change(weights: Path) -> None:
    assert miniatures.recorded_checksums() == {}
    miniatures.record_checksums()
    assert miniatures.checksums("mini-b")["unet/config.json"] == hashlib.sha256(b"{1}").hexdigest()
    assert miniatures.recorded_checksums() == {name: miniatures.checksums(name) for name in miniatures.available()}
    (weights / "mini-b" / "unet" / "config.json").write_text("{3}")
    assert miniatures.recorded_checksums()["mini-b"] != miniatures.checksums("mini-b")


def test_no_weights_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(miniatures, "WEIGHTS", tmp_path / "none")
    assert miniatures.available() == []


def test_listing_needs_no_torch() -> None:
    code = "import sys; from diffolio import miniatures; miniatures.available(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
