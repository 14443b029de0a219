"""Edits of scenes with instructions."""

import random

import pytest

from diffolio.errors import BadInput
from diffolio.worlds.motion.edits import CHANGES, draw_change, understood
from diffolio.worlds.tabletop import Scene, Thing


def test_every_change_is_drawn_said_and_done():
    rng, seen = random.Random(0), set()
    for i in range(60):
        things = (Thing("circle", "red", 0.3), Thing("star" if i % 3 else "circle", "blue", 0.7))[: 1 + i % 2]
        scene = Scene(things, "cream")
        change = draw_change(scene, rng)
        seen.add(change.what)
        after = change.of(scene)
        assert after != scene
        what, kind, new = understood(change.instruction)
        assert what == change.what
        assert new == change.new
        assert change.index is None or kind == scene.things[change.index].kind
    assert seen == set(CHANGES)
    assert understood("a red circle") is None
    with pytest.raises(BadInput, match="none of delete"):
        draw_change(Scene((Thing("circle", "red"),)), rng, ("delete",))
