"""The edit benchmark: its scores on editors whose outcome is known, its table and pictures, and the command."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from PIL import Image

from diffolio.claims.benchmark import editing, report
from diffolio.claims.benchmark.baselines import CopySource, DDIMInversion, ImageToImage
from diffolio.claims.benchmark.cases import tabletop
from diffolio.edits import Edit
from diffolio.errors import BadInput, NotFinite, Unsupported
from diffolio.registry import Editor
from tests.models.tiny import tiny_model

KINDS = ("colour", "delete", "style")


@dataclass(frozen=True)
class Oracle(Editor):
    """Knows the truth by the target prompt; deletes only where it is given the mask."""

    name: ClassVar[str] = "oracle"
    edits: ClassVar[frozenset[str]] = frozenset({"colour", "style"})
    seen: ClassVar[list] = []

    def change(self, model, images, sources, targets, mask=None, *, seed=0, **inputs):
        truths = {case.target: case.truth for case in tabletop(2, 128, KINDS)}
        self.seen.append((len(images), mask, seed))
        return Edit(images, torch.stack([truths[t] for t in targets]), sources, targets)


@dataclass(frozen=True)
class Painter(Oracle):
    """Paints the mask grey."""

    name: ClassVar[str] = "painter"
    edits: ClassVar[frozenset[str]] = frozenset({"delete"})
    needs: ClassVar[frozenset[str]] = frozenset({"mask"})

    def change(self, model, images, sources, targets, mask=None, *, seed=0, **inputs):
        assert mask is not None
        return Edit(images, images.masked_fill(mask[:, None], 0.5), sources, targets)


@dataclass(frozen=True)
class Broken(Oracle):
    name: ClassVar[str] = "broken"

    def change(self, *args, **inputs):
        raise NotFinite("it gave NaN")


@dataclass(frozen=True)
class Elsewhere(Oracle):
    name: ClassVar[str] = "elsewhere"

    def check(self, model):
        raise Unsupported("elsewhere works on other models")


@pytest.fixture(scope="module")
def model():
    return tiny_model("sd")


@pytest.fixture
def done(model, monkeypatch):
    monkeypatch.setattr(editing, "baselines", lambda steps: [CopySource()])
    monkeypatch.setattr(editing, "editors", lambda steps, only=(): iter([Oracle(), Painter(), Broken(), Elsewhere()]))
    Oracle.seen.clear()
    return editing.benchmark(model, editing.on_tabletop(2, KINDS))


def test_known_editors_get_the_scores_that_they_earn(done):
    rows = {row["editor"]: row for row in done.as_dict()["rows"]}
    copy, oracle, painter = (rows[name] for name in ("copy of the source", "oracle", "painter"))
    assert copy["n"] == 6 and oracle["n"] == 4 and painter["n"] == 2, "each on the kinds that it does"
    assert copy["metrics"]["structure_distance"]["value"] == 0
    assert copy["metrics"]["background_psnr"]["value"] == 100
    assert copy["metrics"]["success"]["value"] == 0
    assert copy["metrics"]["success"]["high"] > 0.2, "six failures do not show that it never succeeds"
    assert oracle["metrics"]["success"]["value"] == oracle["metrics"]["all_right"]["value"] == 1
    assert oracle["metrics"]["truth_psnr"]["value"] == 100
    assert oracle["metrics"]["background_psnr"]["value"] > 48
    assert oracle["metrics"]["background_psnr"]["n"] == 2, "a change of style leaves no background"
    assert oracle["metrics"]["structure_distance"]["value"] > 0
    assert set(oracle["by_kind"]) == {"colour", "style"}
    assert painter["given_mask"] and not oracle["given_mask"]
    assert [mask for _, mask, _ in Oracle.seen] == [None], "masks are only for those who need them"
    assert rows[editing.TRUTH]["metrics"]["model_calls"] is None
    assert done.left_out == {"broken": "it gave NaN", "elsewhere": "elsewhere works on other models"}


def test_batches_do_not_change_the_seeds(model, monkeypatch):
    monkeypatch.setattr(editing, "BATCH", 3)
    Oracle.seen.clear()
    cases = [case for case in tabletop(2, 128, KINDS) if case.kind != "delete"]
    entry = editing.measure(Oracle(), model, cases, seed=100)
    assert [(n, seed) for n, _, seed in Oracle.seen] == [(3, 100), (1, 103)]
    torch.testing.assert_close(entry.edited, torch.stack([case.truth for case in cases]))


def test_written_as_json_markdown_and_picture(done, tmp_path):
    paths = report.write(done, tmp_path / "new")
    assert [path.name for path in paths] == ["editing.json", "editing.md", "editing.webp"]
    record = json.loads(paths[0].read_text())
    assert record["versions"]["torch"] and record["steps"] == 25
    text = paths[1].read_text()
    assert "| oracle |" in text and "painter (given the mask)" in text
    assert "- broken: it gave NaN" in text
    assert "NaN" not in paths[0].read_text().replace("it gave NaN", "")
    with Image.open(paths[2]) as picture:
        assert picture.size[0] > 6 * 128
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="--out"):
        report.write(done, tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("editor", "calls"), [(CopySource(), 0), (ImageToImage(0.5, 4, 3.0), 4), (DDIMInversion(2, 3.0), 2 + 2 * 2)]
)
def test_the_baselines_cost_what_they_should(model, editor, calls):
    entry = editing.measure(editor, model, list(tabletop(2, 128, ("colour",))), seed=1)
    assert entry.scores["model_calls"].tolist() == [calls] * 2
    assert torch.isfinite(entry.edited).all()


def test_every_editor_of_the_registry_is_asked(monkeypatch):
    cards = {name: SimpleNamespace(name=name, edits=edits) for name, edits in (("spdinv", ("colour",)), ("ovam", ()))}
    assert any(made.name == "spdinv" and made.steps == 7 for made in editing.editors(7))
    monkeypatch.setattr(editing.registry, "cards", lambda: cards)
    assert [made.name for made in editing.editors(7)] == ["spdinv"]
    with pytest.raises(BadInput, match="choose among spdinv"):
        list(editing.editors(7, ["ovam"]))


def test_the_command(monkeypatch, capsys, tmp_path):
    from diffolio.cli import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["diffolio", "bench", "editing", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    monkeypatch.setattr(editing, "baselines", lambda steps: [CopySource()])
    monkeypatch.setattr(editing, "editors", lambda steps, only=(): iter(()))
    status, out, _ = run("--scenes", 1, "--kinds", "colour,add", "--out", tmp_path / "out", "--json")
    assert status == 0
    assert [row["n"] for row in json.loads(out)["rows"]] == [2, 2]
    assert (tmp_path / "out" / "editing.webp").exists()
    for arguments, words in (
        (["--kinds", "color"], "Did you mean colour"), (["--data", tmp_path], "mapping_file.json"),
        (["--data", tmp_path, "--record"], "leave --data out"), (["--model", "mini-sdd"], "mini-sd"),
    ):  # fmt: skip
        status, _, err = run(*arguments)
        assert status == 2
        assert words in err
