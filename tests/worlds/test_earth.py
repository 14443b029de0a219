"""The earth world: exact truth, twins that differ in one thing, and a reader that agrees with the truth."""

from __future__ import annotations

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.worlds.earth import (
    CLASSES,
    HELD_OUT,
    METADATA,
    TWINS,
    Mixture,
    Scene,
    Way,
    agreement,
    conditions,
    dates,
    describe,
    held_out,
    read,
    render,
    sample_scenes,
    stacked,
    twins,
    vocabulary,
)  # fmt: skip
from diffolio.worlds.earth.scene import BASE_SIDE


def test_the_same_seed_gives_the_same_pictures_whatever_their_number():
    assert sample_scenes(5, 3)[:2] == sample_scenes(2, 3) != sample_scenes(2, 4)
    scenes = sample_scenes(4, 3)
    together, alone = render(scenes), render(scenes[2])
    assert torch.equal(together.classes[2], alone.classes[0])
    assert torch.allclose(together.images[2], alone.images[0], atol=1e-6)


def test_truth_has_its_shapes_and_ranges():
    truth = render(sample_scenes(6, 5), (48, 64))
    assert truth.images.shape == (6, 3, 48, 64) and truth.classes.shape == (6, 48, 64)
    for picture in (truth.images, truth.clear, truth.nir, truth.radar, truth.depth, truth.cloud, truth.metadata):
        assert float(picture.min()) >= 0 and float(picture.max()) <= 1
    assert int(truth.classes.max()) < len(CLASSES)
    assert torch.equal(truth.roads, truth.classes == CLASSES.index("road"))
    assert truth.metadata.shape == (6, len(METADATA))
    assert stacked(truth).shape == (6, 18, 48, 64)
    assert torch.equal(conditions(truth)["road"][:, 0] > 0.5, truth.roads)


def test_a_straight_road_lies_where_its_numbers_say():
    scene = Scene("farmland", 7, roads=(Way(0.0, 10.0, 12.0),), gsd=2.0)
    truth = render(scene)
    columns = truth.roads[0].float().mean(0) > 0.5
    x = (torch.arange(BASE_SIDE) - (BASE_SIDE - 1) / 2) * 2.0
    assert torch.equal(columns, (x - 10).abs() < 6)


@pytest.mark.parametrize("cover", [0.0, 0.1, 0.37, 0.8, 1.0])
def test_clouds_cover_what_was_asked(cover):
    truth = render(sample_scenes(1, 2)[0].change(cloud_cover=cover))
    assert float(truth.cloud_fraction) == pytest.approx(cover, abs=1e-3)
    if cover == 0:
        assert torch.equal(truth.images, truth.clear)


def test_resolution_shows_the_same_ground():
    fine, coarse = (render(sample_scenes(1, 8)[0].change(gsd=gsd, cloud_cover=0.0)) for gsd in (1.5, 3.0))
    middle = coarse.classes[0, 16:48, 16:48]
    assert float((fine.classes[0, ::2, ::2] == middle).float().mean()) > 0.85


@pytest.mark.parametrize("what", TWINS)
def test_a_twin_differs_in_one_thing(what):
    for scene, other in twins(2, what, seed=5):
        a, b = render(scene), render(other)
        if what in ("season", "clouds", "clear"):
            assert torch.equal(a.classes, b.classes)
        if what == "season":
            assert scene.season != other.season and torch.equal(a.cloud, b.cloud)
        if what in ("clouds", "clear"):
            assert torch.equal(a.clear, b.clear) and not torch.equal(a.cloud, b.cloud)
        if what == "roads":
            assert a.roads.any() and not b.roads.any() and scene.seed == other.seed
        if what == "resolution":
            assert not 0.72 < other.gsd / scene.gsd < 1.4


def test_dates_share_the_ground():
    truth = render(dates(sample_scenes(1, 4)[0], 3, seed=1))
    assert torch.equal(truth.clear[0], truth.clear[2])
    assert not torch.equal(truth.cloud[0], truth.cloud[1])


def test_the_reader_agrees_with_true_renders():
    for cloudy, road, mean in ((0.0, 0.8, 0.88), (1.0, 0.68, 0.75)):
        scenes = held_out(6, mixture=Mixture(cloudy=cloudy))
        truth = render(scenes)
        score = agreement(read(truth.images), truth)
        assert score["road_iou"] > road and score["mean_iou"] > mean and score["cloud_error"] < 0.06


def test_the_reader_does_not_see_roads_that_are_not_there():
    pairs = twins(3, "roads", seed=HELD_OUT)
    bare = render([other.change(cloud_cover=0.0) for _, other in pairs])
    assert float(read(bare.images).roads.float().mean()) < 0.03


def test_captions_keep_to_the_vocabulary():
    words = set(vocabulary())
    for scene in sample_scenes(200, 1):
        for text in (scene.caption, describe(scene)):
            assert set(text.replace(",", " , ").split()) <= words


def test_bad_input_is_named():
    with pytest.raises(UnknownName, match="town"):
        Scene("twon", 1)
    with pytest.raises(BadInput, match="cloud cover"):
        Scene("town", 1, cloud_cover=1.2)
    with pytest.raises(BadInput, match="at least one"):
        sample_scenes(0, 1)
    with pytest.raises(BadInput, match="held-out"):
        held_out(2, seed=5)
    with pytest.raises(BadInput, match="picture size"):
        render(sample_scenes(1, 1), 4)
