"""Any two techniques either stack, with finite pictures, or are refused as a declared conflict; the model is the same afterwards."""

from __future__ import annotations

import copy
import functools
import itertools
import json
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch

from diffolio import registry
from diffolio.claims import combinations
from diffolio.claims.combinations import fits, matrix, record, sample, techniques, try_pair
from diffolio.errors import BadInput, NotFinite
from diffolio.models import Model
from diffolio.registry import Technique, method
from tests.models.tiny import TINY, tiny_model

PAIRS = list(itertools.combinations_with_replacement(techniques(), 2))


SIZE = 64  # pixels; latents of 8x8


@functools.cache
def tiny(which):
    """A tiny model that says it was trained on half of the size at which it is sampled here, and its plain sample."""
    pipeline = copy.deepcopy(TINY[which]())
    model = Model(pipeline, name=f"tiny-{which}")
    model.denoiser.register_to_config(sample_size=SIZE // model.factor // 2)
    return model, sample(model, SIZE)


@functools.cache
def takes(which, name):
    model, _ = tiny(which)
    works_on = registry.get(name).works_on
    return (not works_on or bool(works_on & model.kinds)) and fits(model, name, SIZE)


def model_for(*names):
    """The first tiny model on which all of them run alone, and its plain sample."""
    return next((tiny(which) for which in TINY if all(takes(which, name) for name in names)), (None, None))


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=["+".join(pair) for pair in PAIRS])
def test_every_pair_stacks_or_is_a_declared_conflict(first, second):
    model, before = model_for(first, second)
    if model is None:
        kinds = [registry.get(name).works_on for name in (first, second)]
        assert all(kinds) and not kinds[0] & kinds[1], "both say that they work on one kind of model, and no tiny one takes both"
        pytest.skip("they work on different architectures")
    verdicts = [try_pair(model, *pair, before, SIZE) for pair in {(first, second), (second, first)}]
    for verdict in verdicts:
        assert verdict.outcome in ("stacks", "conflict"), verdict.reason
    assert len({verdict.outcome for verdict in verdicts}) == 1, "whether two techniques go together is no matter of order"
    shared = registry.get(first).exclusive & registry.get(second).exclusive
    if shared:
        assert verdicts[0].outcome == "conflict"
        assert any(place in verdicts[0].reason for place in shared)


def test_every_technique_runs_on_some_true_architecture():
    for name in techniques():
        assert model_for(name)[0] is not None, name


@pytest.fixture
def added(monkeypatch):
    """Techniques that misbehave, put into the registry under their names."""

    @method(paper="0000.00001", family="acceleration", works_on={"unet"})
    @dataclass(frozen=True)
    class Leaves(Technique):
        @contextmanager
        def on(self, model):
            handle = next(model.denoiser.parameters())
            with torch.no_grad():
                handle.add_(1e-3)
            yield model

    @method(paper="0000.00002", family="acceleration", works_on={"unet"})
    @dataclass(frozen=True)
    class Hooks(Technique):
        @contextmanager
        def on(self, model):
            model.denoiser.register_forward_hook(lambda *given: None)
            yield model

    @method(paper="0000.00003", family="acceleration", works_on={"unet"})
    @dataclass(frozen=True)
    class Breaks(Technique):
        @contextmanager
        def on(self, model):
            raise NotFinite("NaN")
            yield model

    @method(paper="0000.00004", family="acceleration", works_on={"unet"}, exclusive={"the only place"})
    @dataclass(frozen=True)
    class Quiet(Technique):
        @contextmanager
        def on(self, model):
            yield model

    made = {"leaves": Leaves, "hooks": Hooks, "breaks": Breaks, "quiet": Quiet}
    for name, cls in made.items():
        cls.name = name
    monkeypatch.setattr(combinations, "_made", lambda name: made[name]())


def test_what_is_left_behind_is_found(added):
    model = Model(copy.deepcopy(TINY["sd"]()), name="copy")
    before = sample(model, SIZE)
    assert try_pair(model, "quiet", "quiet", before, SIZE).outcome == "conflict"
    breaks = try_pair(model, "quiet", "breaks", before, SIZE)
    assert (breaks.outcome, breaks.reason) == ("broken", "NotFinite: NaN")
    assert "is not as it was" in try_pair(model, "quiet", "leaves", before, SIZE).reason
    with torch.no_grad():
        next(model.denoiser.parameters()).sub_(1e-3)
    assert "hooks are left" in try_pair(model, "quiet", "hooks", sample(model, SIZE), SIZE).reason


def test_the_matrix_as_data(added, tmp_path):
    models = [tiny_model("sd3"), tiny_model("sd")]
    found = matrix(["quiet"], models)
    assert [(v.first, v.second, v.outcome, v.model) for v in found] == [("quiet", "quiet", "conflict", "tiny-sd")]
    apart = matrix(["quiet"], models[:1])
    assert apart[0].outcome == "apart"
    written = json.loads(record([*found, *apart], tmp_path).read_text())
    assert written["outcomes"] == {"stacks": 0, "conflict": 1, "apart": 1, "broken": 0}
    assert "the only place" in written["pairs"][0]["reason"]
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="--out"):
        record(found, tmp_path / "file" / "below")


def test_the_command_shows_and_writes_the_matrix(monkeypatch, capsys, tmp_path):
    import sys

    from diffolio.cli import main

    found = [
        combinations.Verdict("aid", "aid", "conflict", "m", reason="both need it"),
        combinations.Verdict("aid", "prss", "stacks", "m", 0.1),
    ]
    found += [
        combinations.Verdict("prss", "aid", "stacks", "m", 0.1),
        combinations.Verdict("prss", "prss", "broken", "m", reason="hooks"),
    ]
    monkeypatch.setattr(combinations, "matrix", lambda: found)
    monkeypatch.setattr(sys, "argv", ["diffolio", "bench", "combinations", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1, "a broken pair is a failure of the command"
    out = capsys.readouterr().out
    assert "conflict" in out and "both need it" in out
    assert json.loads((tmp_path / "combinations.json").read_text())["outcomes"]["stacks"] == 2


def test_only_techniques_are_paired():
    with pytest.raises(BadInput, match="spdinv is a tool"):
        try_pair(tiny_model("sd"), "spdinv", "spdinv", torch.zeros(1))
