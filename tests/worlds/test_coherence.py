"""Arrows that point and things that touch: exact scenes, a reader that agrees with them, and nothing changed for other scenes."""

import math
from dataclasses import replace

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.worlds.tabletop import KIND_NAMES, Scene, Thing, render, sample_scenes, vocabulary
from diffolio.worlds.tabletop.coherence import (
    APART,
    CLASSES,
    POINTS,
    SPREAD,
    TOUCHES,
    bearing,
    contact,
    label_maps,
    sample_coherent,
)
from diffolio.worlds.tabletop.coherence_reader import LIKE, read_arrow, read_coherence
from diffolio.worlds.tabletop.shapes import ARROW


def test_an_arrow_is_drawn_by_name_only():
    assert ARROW not in KIND_NAMES
    assert ARROW not in vocabulary()
    assert all(thing.kind != ARROW for scene in sample_scenes(200, 0) for thing in scene.things)
    assert render([Scene((Thing(ARROW, "red"),))]).full.any()


def test_the_same_seed_gives_the_same_scenes():
    assert sample_coherent(9, 3) == sample_coherent(30, 3)[:9]
    assert sample_coherent(9, 3) != sample_coherent(9, 4)
    with pytest.raises(BadInput):
        sample_coherent(0, 1)
    with pytest.raises(UnknownName):
        sample_coherent(2, 1, ("looks at",))


def test_arrows_point_at_the_target_and_clearly_not_at_the_other():
    for c in sample_coherent(40, 5, (POINTS,)):
        arrow, target, other = c.scene.things
        assert arrow.angle == pytest.approx(c.bearing)
        tip = (arrow.x + math.sin(math.radians(arrow.angle)), arrow.y - math.cos(math.radians(arrow.angle)))
        towards = (target.x - arrow.x) * (tip[0] - arrow.x) + (target.y - arrow.y) * (tip[1] - arrow.y)
        assert towards == pytest.approx(math.dist((arrow.x, arrow.y), (target.x, target.y)))
        away = abs((bearing(other.x - arrow.x, other.y - arrow.y) - arrow.angle + 180) % 360 - 180)
        assert away >= SPREAD
        assert c.caption == f"the arrow points at the {target.kind}"


def test_touching_things_touch():
    a, b = Thing("circle", "red", size=0.4), Thing("circle", "blue", size=0.3)
    assert contact(a, b, (1.0, 0.0)) == pytest.approx(0.86 * 0.35, abs=0.01)
    near, far = (read_coherence(render([c.scene for c in some], 64).images, some) for some in pairs())
    assert max(one.gap for one in near) < 0.5
    assert min(one.gap for one in far) > 2


def pairs():
    return sample_coherent(12, 8, (TOUCHES,)), sample_coherent(12, 8, (APART,))


def test_label_maps_show_an_arrow_s_disc_and_not_where_it_points():
    (c,) = sample_coherent(1, 2, (POINTS,))
    turned = replace(c, scene=c.scene.change(0, angle=c.scene.things[0].angle + 100))
    assert torch.equal(label_maps([c]), label_maps([turned]))
    assert set(torch.unique(label_maps([c])).tolist()) == set(c.words)
    assert c.words[CLASSES[ARROW]].endswith(ARROW)


def test_the_reader_agrees_with_the_scenes():
    scenes = sample_coherent(18, 11)
    images, labels = render([c.scene for c in scenes], 64).images, label_maps(scenes)
    for one, c, layout in zip(read_coherence(images, scenes), scenes, labels, strict=True):
        assert one.iou(layout) > 0.95
        if c.relation == POINTS:
            assert one.error < 1.5
            assert math.isnan(one.gap)


def test_the_reader_sees_a_wrong_direction_and_a_missing_arrow():
    scenes = sample_coherent(4, 13, (POINTS,))
    turned = [c.scene.change(0, angle=c.scene.things[0].angle + 70) for c in scenes]
    gone = [replace(c.scene, things=c.scene.things[1:]) for c in scenes]
    assert all(abs(one.error - 70) < 1.5 for one in read_coherence(render(turned).images, scenes))
    assert all(math.isnan(one.error) for one in read_coherence(render(gone).images, scenes))


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_no_other_kind_is_an_arrow(kind):
    thing = Thing(kind, "red", 0.5, 0.5, 0.4, 20)
    assert read_arrow(render([Scene((thing,))]).images[0], thing) is None
    assert LIKE < 0.95


def test_a_missing_thing_has_no_gap():
    (c,) = sample_coherent(1, 17, (TOUCHES,))
    alone = replace(c.scene, things=c.scene.things[:1])
    assert math.isnan(read_coherence(render([alone]).images, [c])[0].gap)
    with pytest.raises(BadInput, match="square"):
        read_coherence(render([alone], 64, 80).images, [c])
