"""Claims: bars, rows, records, and when evidence goes stale."""

import json
import math

import pytest
from PIL import Image

from diffolio import registry
from diffolio.claims import AtLeast, AtMost, Claim, Outcome, Row
from diffolio.claims import evidence as evidence_module
from diffolio.claims.evidence import claim_module, fingerprint, load_evidence, measure, record
from diffolio.errors import BadInput, Unsupported


def test_a_bar_below_one_also_needs_the_interval_below_one():
    assert AtMost(0.9).met(0.8, 0.7, 0.95)
    assert not AtMost(0.9).met(0.8, 0.5, 1.1)
    assert not AtMost(0.9).met(0.95, 0.9, 0.99)
    assert AtMost(1.5).met(1.2, 1.1, 1.4)
    assert AtLeast(1.25).met(1.3, 1.1, 1.5)
    assert not AtLeast(1.25).met(1.3, 0.9, 1.7)
    assert AtLeast(0.8).met(0.85, 0.7, 1.0)


def test_rows_are_ratios_of_means_with_intervals():
    row = Row("error", [1.0, 2.0, 3.0], [2.0, 4.0, 6.0], AtMost(0.6)).as_dict()
    assert row["ratio"] == pytest.approx(0.5)
    assert row["interval"] == [pytest.approx(0.5), pytest.approx(0.5)]
    assert (row["baseline"], row["value"], row["n"], row["holds"]) == (4.0, 2.0, 3, True)
    alone = Row("rate", [0.0, 1.0, 1.0]).as_dict()
    assert alone["baseline"] is None
    assert alone["ratio"] == pytest.approx(2 / 3)
    assert alone["holds"] is None
    assert math.isnan(Row("one", [2.0], [1.0]).as_dict()["interval"][0])


def test_a_headline_needs_its_bar():
    with pytest.raises(BadInput, match="no bar"):
        Outcome(Row("error", [1.0], [1.0]))


@pytest.mark.parametrize("name", sorted(registry.cards()))
def test_every_method_has_a_claim_whose_literal_equals_the_module(name):
    module = claim_module(name)
    assert isinstance(module.CLAIM, Claim)
    assert module.CLAIM.method == name
    card = registry.card(name)
    path = evidence_module.PACKAGE / "claims" / card.family / f"{name}.py"
    assert evidence_module._claim_of(path) == module.CLAIM
    assert callable(module.measure)


def test_recording_and_going_stale(tmp_path, monkeypatch):
    name = "ovam"
    claim = claim_module(name).CLAIM
    outcome = Outcome(Row("x", [2.0, 2.2], [1.0, 1.0], claim.bar), [Row("y", [1.0])], Image.new("RGB", (8, 8)), "1..2")
    monkeypatch.setattr(claim_module(name), "measure", lambda retrain=False: outcome)
    monkeypatch.setattr(evidence_module, "evidence_folder", lambda: tmp_path)
    found = measure(name)
    assert found["holds"]
    assert found["versions"]["torch"]
    paths = record(name, found)
    assert [p.name for p in paths] == ["ovam.json", "ovam.webp"]
    assert json.loads(paths[0].read_text())["rows"][0]["ratio"] == pytest.approx(2.1)
    assert load_evidence(name)["stale"] is False
    monkeypatch.setattr(evidence_module, "fingerprint", lambda name: "another")
    assert load_evidence(name)["stale"] is True


def test_a_note_written_to_a_record_outlives_it(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence_module, "evidence_folder", lambda: tmp_path)

    def again(date, notes=""):
        path = record("ovam", {"rows": [], "notes": notes, "recorded": date})[0]
        return path, json.loads(path.read_text())

    path, first = again("2026-01-01")
    assert first["notes"] == ""
    path.write_text(json.dumps(first | {"notes": "Too few steps."}))
    dated = "Of the record of 2026-01-01: Too few steps."
    assert again("2026-02-02")[1]["notes"] == dated
    assert again("2026-03-03")[1]["notes"] == dated  # dated once, by the record it was written for
    assert again("2026-04-04", "The claim's own.")[1]["notes"] == "The claim's own."


def test_a_claim_may_not_move_its_bar(monkeypatch):
    module = claim_module("ovam")
    monkeypatch.setattr(module, "measure", lambda retrain=False: Outcome(Row("x", [1.0], [1.0], AtLeast(0.1))))
    with pytest.raises(BadInput, match="bar"):
        measure("ovam")


def test_the_fingerprint_sees_code_and_not_comments(tmp_path):
    path = tmp_path / "a.py"
    path.write_text('"""Doc."""\nx = 1  # why\n')
    first = evidence_module._code(path)
    path.write_text('"""Another."""\n\n\nx = 1\n')
    assert evidence_module._code(path) == first
    path.write_text('"""Doc."""\nx = 2\n')
    assert evidence_module._code(path) != first
    assert fingerprint("ovam") == fingerprint("ovam")


def test_a_claim_whose_baseline_the_wheel_left_out_says_so_before_it_runs(monkeypatch):
    monkeypatch.setattr(
        evidence_module.miniatures, "missing_baselines", lambda name: ["adapters/zippo/x"] if name == "adapters/zippo" else []
    )
    monkeypatch.setattr(claim_module("zippo"), "measure", lambda retrain=False: pytest.fail("it ran"))
    with pytest.raises(Unsupported, match=r"adapters/zippo/x.*clone of the repository, or train"):
        measure("zippo")
