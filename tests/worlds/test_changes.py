import random

import pytest

from diffolio.errors import UnknownName
from diffolio.worlds.tabletop import sample_scenes
from diffolio.worlds.tabletop.changes import CHANGES, MOVE, change

SCENES = sample_scenes(40, 11)


def differences(before, after):
    pairs = zip(before.things, after.things, strict=True)
    count = sum((a.colour != b.colour) + (a.kind != b.kind) for a, b in pairs)
    return count + (before.background != after.background)


@pytest.mark.parametrize("scene", SCENES[:20])
def test_the_amount_counts_the_edits(scene):
    made = change(scene, "edits", random.Random(scene.seed))
    assert made.amount == differences(scene, made.scene)
    assert 1 <= made.amount <= 3


@pytest.mark.parametrize("scene", SCENES)
def test_a_move_is_as_long_as_it_says_and_stays_in_the_picture(scene):
    made = change(scene, "place", random.Random(1))
    moved = [(a, b) for a, b in zip(scene.things, made.scene.things, strict=True) if a != b]
    assert len(moved) == 1
    ((a, b),) = moved
    assert ((a.x - b.x) ** 2 + (a.y - b.y) ** 2) ** 0.5 == pytest.approx(MOVE * made.amount)
    assert 0 <= b.x <= 1 and 0 <= b.y <= 1
    assert differences(scene, made.scene) == 0


def test_growing_and_shrinking_keep_a_thing_in_range():
    for scene in SCENES:
        made = change(scene, "size", random.Random(2))
        assert all(0.1 < thing.size < 0.85 for thing in made.scene.things)


def test_an_unknown_change_is_named():
    with pytest.raises(UnknownName, match="place"):
        change(SCENES[0], "plcae", random.Random(0))
    assert CHANGES
