"""The orchard: what is tied is read as tied, what floats as floating, and captions do not tell which."""

from dataclasses import replace

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.worlds.orchard import GAP, INK, KINDS, STALKS, WOOD, draw_orchard, read_orchard, sample_orchard, top


def test_the_same_seed_gives_the_same_scenes():
    assert sample_orchard(5, 1) == sample_orchard(20, 1)[:5]
    assert torch.equal(draw_orchard(sample_orchard(3, 1)), draw_orchard(sample_orchard(9, 1))[:3])
    with pytest.raises(BadInput):
        sample_orchard(0, 1)
    with pytest.raises(UnknownName):
        sample_orchard(1, 1, kinds=("pear",))


def test_half_of_the_scenes_break_the_rule():
    scenes = sample_orchard(400, 2)
    assert 0.42 < sum(scene.logical for scene in scenes) / 400 < 0.58
    assert {scene.stalk for scene in scenes} == set(STALKS)
    assert all(scene.logical for scene in sample_orchard(20, 2, 1.0))


def test_captions_name_the_fruit_and_never_the_rule():
    for scene in sample_orchard(60, 3):
        for caption in (scene.caption, scene.plain):
            assert scene.fruit.kind in caption
            assert scene.fruit.colour in caption
            assert not {"stalk", "tied", "attached", "floating"} & set(caption.split())


def test_the_parser_is_right_about_renders():
    scenes = sample_orchard(48, 4)
    for picked, scene in zip(read_orchard(draw_orchard(scenes)), scenes, strict=True):
        assert picked.branch
        assert picked.tied == scene.logical
        assert (picked.fruit.kind, picked.fruit.colour) == (scene.fruit.kind, scene.fruit.colour)


@pytest.mark.parametrize("kind", KINDS)
def test_one_scene_with_every_stalk(kind):
    """The same fruit in the same place: no single pixel's colour tells, but whether the line is whole."""
    (scene,) = sample_orchard(1, 5, 1.0, (kind,))
    each = [replace(scene, stalk=stalk) for stalk in STALKS]
    assert [picked.tied for picked in read_orchard(draw_orchard(each))] == [True, False, False, False]
    whole, above = each[0].stalk_span, each[2].stalk_span
    assert above[0] - whole[0] == pytest.approx(GAP)
    assert top(scene.fruit) < whole[1] < scene.fruit.y


def test_the_parser_without_a_branch_or_a_fruit():
    (scene,) = sample_orchard(1, 6, 1.0)
    image = draw_orchard([scene])
    ground = image[:, :, -1:, :1]
    bare = image.clone()
    bare[..., : int(64 * (scene.branch + 0.06)), :] = ground
    assert not read_orchard(bare)[0].branch
    assert not read_orchard(bare)[0].tied
    empty = image.clone()
    empty[..., int(64 * (scene.branch + 0.06)) :, :] = ground
    picked = read_orchard(empty)[0]
    assert picked.branch
    assert picked.fruit is None
    assert not picked.tied


def test_a_fruit_against_the_branch_hangs_by_no_stalk():
    (scene,) = sample_orchard(1, 7, 1.0, ("square",))
    up = replace(scene, fruit=replace(scene.fruit, y=scene.fruit.y - (top(scene.fruit) - scene.branch - 0.05)), stalk="none")
    assert not read_orchard(draw_orchard([up]))[0].tied


def test_it_is_read_at_other_sizes_and_with_a_little_noise():
    scenes = sample_orchard(8, 8)
    small = draw_orchard(scenes, 64)
    noisy = (small + 0.03 * torch.randn(small.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert [picked.tied for picked in read_orchard(noisy)] == [scene.logical for scene in scenes]
    assert [picked.tied for picked in read_orchard(draw_orchard(scenes, 128))] == [scene.logical for scene in scenes]


def test_connectedness_is_what_counts_and_not_the_paint():
    """A branch in another colour than wood, a stalk in another than ink: read the same."""
    scenes = sample_orchard(12, 9)
    images = draw_orchard(scenes)
    for old, new in ((WOOD, (0.8, 0.1, 0.15)), (INK, (0.1, 0.35, 0.12))):
        near = (images - torch.tensor(old)[:, None, None]).abs().amax(1, keepdim=True) < 0.1
        images = torch.where(near, torch.tensor(new)[:, None, None], images)
    assert [picked.tied for picked in read_orchard(images)] == [scene.logical for scene in scenes]
    assert all(picked.branch for picked in read_orchard(images))
