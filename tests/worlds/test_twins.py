"""Twins differ from their scenes in the one thing that was asked for."""

from __future__ import annotations

import pytest

from diffolio.errors import BadInput, UnknownName
from diffolio.worlds.tabletop import read, render
from diffolio.worlds.tabletop.twins import TWINS, twins


@pytest.mark.parametrize("what", TWINS)
def test_a_twin_differs_in_one_thing(what):
    for scene, twin in twins(6, what, seed=5):
        assert scene.caption != twin.caption
        if what in ("background", "style"):
            assert scene.things == twin.things
            assert getattr(scene, what) != getattr(twin, what)
            continue
        assert (scene.background, scene.style, scene.seed) == (twin.background, twin.style, twin.seed)
        both = set(scene.things) & set(twin.things)
        assert len(scene.things) - len(twin.things) == {"delete": 1, "add": -1}.get(what, 0)
        assert len(both) == min(len(scene.things), len(twin.things)) - (what in ("colour", "object"))
        if what == "colour":
            ((old,), (new,)) = ([t for t in s.things if t not in both] for s in (scene, twin))
            assert (old.kind, old.x, old.size) == (new.kind, new.x, new.size)
            assert new.colour not in {t.colour for t in scene.things}


def test_the_reader_sees_the_change():
    pairs = twins(8, "delete", seed=6)
    before, after = (read(render(list(scenes)).images) for scenes in zip(*pairs, strict=True))
    assert [r.count for r in before] == [2] * 8
    assert [r.count for r in after] == [1] * 8


def test_the_same_seed_gives_the_same_twins_whatever_their_number():
    assert twins(6, "object", 3)[:2] == twins(2, "object", 3)
    assert twins(2, "object", 3) != twins(2, "object", 4)
    with pytest.raises(UnknownName, match="colour"):
        twins(2, "color", 3)
    with pytest.raises(BadInput, match="at least one"):
        twins(0, "colour", 3)
