import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.worlds.tabletop import (
    COLOURS,
    KIND_NAMES,
    Mixture,
    Scene,
    Thing,
    alpha,
    describe,
    render,
    sample_scenes,
    vocabulary,
)


def test_the_same_seed_gives_the_same_pictures():
    a, b = sample_scenes(20, 3), sample_scenes(30, 3)[:20]
    assert a == b
    assert torch.equal(render(a).images, render(b).images)
    assert a != sample_scenes(20, 4)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 80), (200, 96), (8, 8)])
def test_any_size(height, width):
    drawn = render(sample_scenes(9, 0, aspect=width / height), height, width)
    assert drawn.images.shape == (9, 3, height, width)
    assert drawn.images.min() >= 0
    assert drawn.images.max() <= 1
    assert drawn.full.shape[-2:] == (height, width)


def test_pictures_do_not_depend_on_their_batch():
    scenes = sample_scenes(40, 1)
    together = render(scenes)
    for i in (0, 7, 21, 39):
        alone = render([scenes[i]])
        assert torch.allclose(alone.images[0], together.images[i], atol=1e-5)
        k = len(scenes[i].things)
        assert torch.equal(alone.visible[0, :k], together.visible[i, :k])


def test_resolution_changes_detail_and_not_content():
    scenes = [s for s in sample_scenes(60, 2) if s.style != "snow"]
    small, large = render(scenes, 64).images, render(scenes, 256).images
    pooled = torch.nn.functional.avg_pool2d(large, 4)
    assert (small - pooled).abs().mean() < 0.006


def test_masks_agree_with_paint_and_depth():
    rear = Thing("square", "red", 0.4, 0.5, 0.5)
    front = Thing("circle", "blue", 0.6, 0.5, 0.5)
    drawn = render([Scene((rear, front))], 128)
    full, visible = drawn.full[0], drawn.visible[0]
    assert (visible[0] & visible[1]).sum() == 0
    assert torch.equal(visible[1], full[1])
    hidden = full[0] & ~visible[0]
    assert torch.equal(hidden, full[0] & full[1])
    red = (drawn.images[0] - torch.tensor(COLOURS["red"])[:, None, None]).abs().amax(0) < 0.02
    assert (red & ~visible[0]).sum() == 0
    left, top, right, bottom = drawn.boxes()[0, 0].tolist()
    columns = full[0].any(0).nonzero().flatten()
    rows = full[0].any(1).nonzero().flatten()
    assert (left, right, top, bottom) == (columns[0], columns[-1] + 1, rows[0], rows[-1] + 1)


def test_counterfactuals_change_one_thing_only():
    for scene in [s for s in sample_scenes(80, 5) if s.style == "flat" and len(s.things) == 2][:10]:
        other = next(c for c in COLOURS if c not in {t.colour for t in scene.things})
        twin = scene.change(1, colour=other)
        a, b = render([scene], 96), render([twin], 96)
        assert torch.equal(a.visible, b.visible)
        outside = ~torch.nn.functional.max_pool2d(a.full[:, 1:2].float(), 7, 1, 3).bool()
        assert torch.equal((a.images * outside), (b.images * outside))
        assert other in twin.caption
        assert not torch.equal(a.images, b.images)


def test_true_overlap_and_true_relations():
    scenes = sample_scenes(400, 6, Mixture(counts=(0, 1, 0)))
    drawn = render(scenes, 64)
    for i, scene in enumerate(scenes):
        subject, other = scene.things[scene.subject], scene.things[1 - scene.subject]
        if scene.relation == "in front of":
            hidden = 1 - drawn.visible[i, 0].sum() / drawn.full[i, 0].sum()
            assert 0.04 < hidden < 0.6
            assert scene.subject == 1
        else:
            assert (drawn.full[i, 0] & drawn.full[i, 1]).sum() == 0
            dx, dy = subject.x - other.x, subject.y - other.y
            truth = {"left of": -dx, "right of": dx, "above": -dy, "below": dy}
            assert max(truth, key=truth.get) == scene.relation


def test_captions_say_what_is_there():
    words = set(vocabulary())
    for scene in sample_scenes(500, 7):
        text = scene.caption.replace(",", " ,").split()
        assert set(text) <= words, scene.caption
        for thing in scene.things:
            assert thing.kind in text
    scene = Scene((Thing("fish", "orange"), Thing("house", "red")), relation="left of", subject=0)
    assert describe(scene) == "an orange fish left of a red house"


def test_omissions_and_paraphrases_occur():
    captions = [s.caption for s in sample_scenes(600, 8, Mixture(counts=(1, 0, 0)))]
    coloured = sum(any(c in text.split() for c in COLOURS) for text in captions)
    assert 500 < coloured < 595
    assert any(text.startswith("a drawing of") for text in captions)


def test_soft_coverage_lies_between_none_and_all():
    cover = alpha(Scene((Thing("star", "red"),)), 0, 64)
    assert 0 == cover.min() < cover.max() == 1
    assert ((cover > 0) & (cover < 1)).any()


def test_every_kind_is_drawn_apart_from_every_other():
    shapes = render([Scene((Thing(kind, "red", size=0.7),)) for kind in KIND_NAMES], 64).full[:, 0].float()
    overlap = torch.einsum("ahw,bhw->ab", shapes, shapes)
    area = overlap.diag()
    iou = overlap / (area[:, None] + area[None] - overlap)
    iou.fill_diagonal_(0)
    assert iou.max() < 0.9


def test_bad_scenes_are_refused():
    with pytest.raises(UnknownName, match="circle"):
        Thing("circl", "red")
    with pytest.raises(UnknownName, match="red"):
        Thing("circle", "redd")
    with pytest.raises(BadInput):
        Scene(())
    with pytest.raises(BadInput):
        render([], 64)
    with pytest.raises(BadInput):
        render(sample_scenes(1, 0), 5000)
    with pytest.raises(BadInput):
        sample_scenes(0, 0)
