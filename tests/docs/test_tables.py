"""Tables that hand-written pages ask for: what they say when there is a record, and when there is none."""

import json

from docs.builder import tables

METRIC = {"value": 0.5, "low": 0.4, "high": 0.6}


def row(editor, mask=False):
    metrics = dict.fromkeys(("structure_distance", "success"), METRIC) | dict.fromkeys(
        ("background_psnr", "background_ssim", "background_perceptual", "all_right", "truth_psnr", "model_calls", "seconds")
    )
    return {"editor": editor, "model": "mini-sd", "given_mask": mask, "n": 6, "metrics": metrics, "by_kind": {}}


def test_the_edit_benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "evidence_folder", lambda: tmp_path)
    assert "not recorded yet" in tables.edit_benchmark()
    record = {
        "model": "mini-sd",
        "steps": 25,
        "seed": 1,
        "recorded": "2026-01-02",
        "rows": [row("copy"), row("design_edit", True)],
    }
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "editing.json").write_text(json.dumps(record))
    told = tables.edit_benchmark()
    assert "6 edits on mini-sd" in told and "| copy |" in told
    assert "| [DesignEdit](methods/editing/design_edit.md) (given the mask) |" in told
    assert "500" in told and "[0.4" not in told, "structure distances are in thousandths, without intervals"
