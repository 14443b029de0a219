"""The sheet of all miniatures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from diffolio import miniatures
from diffolio.claims.benchmark import sheet
from diffolio.errors import BadInput


def test_recorded_and_fresh_miniatures_stand_below_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniatures, "available", lambda: ["mini-lcm", "mini-perc-a", "mini-perc-b", "mini-sd", "points-scores"])
    assert sheet._names() == ["mini-lcm", "mini-perc", "mini-sd", "points-scores"] and sheet._band("points-scores") is None
    fresh, recorded = sheet._band("mini-lcm"), sheet._band("mini-perc")
    assert fresh and recorded and "2 steps" in fresh[0] and "bar >= 0.9" in recorded[0]
    with Image.open(sheet.record(tmp_path / "new")) as made:
        assert made.width == sheet.WIDTH and made.height > fresh[1].height + recorded[1].height
        assert len(made.convert("RGB").getcolors(1 << 20) or []) > 50


def test_a_machine_without_miniatures_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniatures, "available", lambda: [])
    with pytest.raises(BadInput, match="diffolio train"):
        sheet.contact_sheet()
