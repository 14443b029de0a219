"""Every misbehaviour of a server, and what a pull makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.papers.pull.scenarios import SCENARIOS, check_readers_agree


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "DIFFOLIO_OFFLINE", "DIFFOLIO_CONTACT"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, tmp_path: Path) -> None:
    SCENARIOS[name](tmp_path)


def test_readers_of_all_shapes_agree() -> None:
    check_readers_agree()
