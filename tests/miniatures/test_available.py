"""Where the miniatures are, and their checksums."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zlib
from pathlib import Path

import pytest

from diffolio import miniatures
from diffolio.errors import UnknownName

ROOT = Path(__file__).parents[2]


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


def test_a_baseline_that_the_wheel_left_out_counts_with_its_record(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniatures, "BASELINES", ("adapters/thing/plain", "mini-a"))
    plain = weights / "adapters" / "thing" / "plain"
    plain.mkdir(parents=True)
    (plain / "weights.bin").write_text("1")
    (plain.parent / "weights.bin").write_text("2")
    miniatures.record_checksums()
    whole = miniatures.checksums("adapters/thing")
    assert list(whole) == ["plain/weights.bin", "weights.bin"] and miniatures.missing_baselines("adapters/thing") == []
    (plain / "weights.bin").unlink()
    plain.rmdir()
    assert miniatures.missing_baselines("adapters/thing") == ["adapters/thing/plain"]
    assert miniatures.missing_baselines("adapters/thin") == miniatures.missing_baselines("mini-a") == []
    assert miniatures.checksums("adapters/thing") == whole
    known = miniatures.checksums("mini-a")
    shutil.rmtree(weights / "mini-a")
    assert miniatures.missing_baselines("mini-a") == ["mini-a"] and miniatures.checksums("mini-a") == known
    miniatures.record_checksums()  # with nothing to record, what is recorded stays
    assert miniatures.checksums("adapters/thing") == whole


def test_the_wheel_leaves_out_the_baselines_and_they_are_recorded_as_they_are() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    left_out = {Path(entry).relative_to("diffolio/miniatures/weights").as_posix() for entry in settings["exclude"]}
    assert left_out == set(miniatures.BASELINES)
    recorded = json.loads((miniatures.WEIGHTS / miniatures.BASELINES_RECORD).read_text())
    assert sorted(recorded) == sorted(miniatures.BASELINES)
    for part, sums in recorded.items():
        whole, inside = re.fullmatch(r"((?:adapters/)?[^/]+)/?(.*)", part).groups()
        here = {f"{inside}/{file}".strip("/"): digest for file, digest in sums.items()}
        assert here.items() <= miniatures.checksums(whole).items()


def test_the_wheel_is_under_90_mb() -> None:
    left_out = [miniatures.WEIGHTS / part for part in miniatures.BASELINES]
    carried = [
        ROOT / name for name in subprocess.check_output(["git", "ls-files", "diffolio", "evidence"], cwd=ROOT, text=True).split()
    ]
    kept = [path for path in carried if path.exists() and not any(path.is_relative_to(part) for part in left_out)]
    assert sum(len(zlib.compress(path.read_bytes(), 1)) for path in kept) < 90e6
