"""The hands world: kinematics, exact truth, skeletons with missing joints, figures and the reader."""

from __future__ import annotations

import math

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.worlds.hands import (
    Hand,
    Mixture,
    Scene,
    body_skeleton,
    describe,
    forward,
    held_out,
    limits,
    read,
    render,
    render_bodies,
    sample_bodies,
    sample_scenes,
    skeleton,
    vocabulary,
)  # fmt: skip
from diffolio.worlds.hands.kinematics import BONES, FINGER_OF, PARENTS


def test_bones_keep_their_length_whatever_the_angles():
    low, high = limits().T
    angles = low + (high - low) * torch.rand(32, 20, generator=torch.Generator().manual_seed(0))
    points = forward(angles)
    for k in range(21):
        if k and k % 4 != 1:
            length = (points[:, k] - points[:, PARENTS[k]]).norm(dim=-1)
            assert torch.allclose(length, torch.full((32,), BONES[FINGER_OF[k]][k % 4 - 2 if k % 4 else 2]), atol=1e-5)


def test_a_left_hand_is_the_mirror_image_and_gradients_flow():
    angles = torch.zeros(1, 20, requires_grad=True)
    right, left = forward(angles), forward(angles, left=torch.tensor([True]))
    assert torch.equal(right * torch.tensor([-1.0, 1.0, 1.0]), left)
    right[0, 8, 2].backward()
    assert angles.grad is not None and float(angles.grad[0, 5]) > 0  # flexing the index brings its tip out of the palm's plane


def test_truth_has_its_shapes_and_the_hand_is_in_the_picture():
    scenes = sample_scenes(10, 2)
    truth = render(scenes)
    assert truth.images.shape == (10, 3, 64, 64) and float(truth.images.min()) >= 0 and float(truth.images.max()) <= 1
    assert bool(((truth.keypoints[..., :2] > 0) & (truth.keypoints[..., :2] < 64)).all())
    assert torch.equal(truth.silhouette, truth.fingers >= 0)
    assert truth.count.tolist() == [scene.hand.count for scene in scenes]
    assert 0.6 < float(truth.visible.float().mean()) < 1
    column, row = truth.keypoints[..., 0].long(), truth.keypoints[..., 1].long()
    under = truth.silhouette[torch.arange(10)[:, None], row, column]
    assert float(under.float().mean()) > 0.97


def test_fingers_hide_each_other_by_depth():
    # The thumb is held aside, or it would hide the index.
    curled = (0.3, 0.0, 0.0, 0.0) + (0.0, 1.4, 1.6, 0.9) * 4
    palm = Hand("right", curled, (False,) * 5)
    truth = render([Scene(palm), Scene(Hand("right", curled, (False,) * 5, yaw=math.pi))])
    tips = [8, 12, 16, 20]
    assert bool(truth.visible[0, tips].all()) and not bool(truth.visible[1, tips].any())


def test_stretched_fingers_reach_farther_than_curled_ones():
    for scene in sample_scenes(40, 5):
        points = forward(torch.tensor([scene.hand.angles]))[0]
        for finger in range(1, 5):
            reach = (points[4 * finger + 4] - points[4 * finger + 1]).norm() / sum(BONES[finger])
            assert (float(reach) > 0.8) == scene.hand.raised[finger]


def test_missing_joints_are_bridged_by_dashes_and_too_few_refused():
    points = render(sample_scenes(1, 3, Mixture(counts=(0, 0, 0, 0, 0, 1)))).keypoints
    whole = skeleton(points, 128)
    gone = points.clone()
    gone[0, 10:12] = torch.nan
    dashed = skeleton(gone, 128)
    green = (1, 0)  # the middle finger is green: more green than red
    lit = [(p[0, green[0]] > p[0, green[1]] + 0.2).sum() for p in (whole, dashed)]
    assert 0.3 * lit[0] < lit[1] < 0.9 * lit[0]
    assert torch.isfinite(dashed).all()
    gone[0, 4:] = torch.nan
    with pytest.raises(BadInput, match="only 4 joints"):
        skeleton(gone)
    with pytest.raises(BadInput, match="21"):
        skeleton(torch.zeros(1, 20, 2))


def test_nearer_bones_are_drawn_over_farther_ones():
    points = torch.full((1, 21, 3), torch.nan)
    points[0, 0] = torch.tensor([2.0, 2.0, 0.0])
    for k, (x, y, z) in {5: (32, 8, 0), 6: (32, 56, 0), 17: (8, 32, 9), 18: (56, 32, 9)}.items():
        points[0, k] = torch.tensor([float(x), float(y), float(z)])
    over = skeleton(points)[0, :, 32, 32]
    points[0, :, 2] *= -1
    under = skeleton(points)[0, :, 32, 32]
    assert over[2] > over[1] and under[1] > under[2]  # violet over yellow, then yellow over violet


def test_figures_hold_their_hands():
    bodies = sample_bodies(4, 4)
    truth = render_bodies(bodies)
    for i, body in enumerate(bodies):
        for k, hand in enumerate(body.hands):
            wrist = truth.joints[i, 4 if hand.side == "right" else 7]
            assert torch.allclose(truth.hand_keypoints[i, k, 0, :2], wrist, atol=1e-3)
            rows, columns = truth.hand_masks[i, k].nonzero().T
            left, top, right, bottom = truth.boxes[i, k].tolist()
            assert len(rows) > 20
            inside = (columns >= left - 3) & (columns <= right + 3) & (rows >= top - 3) & (rows <= bottom + 3)
            assert float(inside.float().mean()) > 0.9
        if len(body.hands) == 1:
            assert bool(truth.boxes[i, 1].isnan().all()) and not bool(truth.hand_masks[i, 1].any())
    both, bare = body_skeleton(truth), body_skeleton(truth, hands=False)
    assert both.shape == (4, 3, 64, 64) and not torch.equal(both, bare)


def test_the_reader_finds_the_silhouette():
    truth = render(held_out(10))
    seen = read(truth.images).silhouette
    assert float((seen & truth.silhouette).sum() / (seen | truth.silhouette).sum()) > 0.9


def test_same_seed_and_words():
    assert sample_scenes(4, 1)[:2] == sample_scenes(2, 1) != sample_scenes(2, 2)
    assert sample_bodies(4, 1)[:2] == sample_bodies(2, 1)
    words = set(vocabulary())
    texts = [t for s in sample_scenes(100, 1) for t in (s.caption, describe(s))] + [b.caption for b in sample_bodies(20, 1)]
    assert {word for text in texts for word in text.split()} <= words


def test_bad_input_is_named():
    scene = sample_scenes(1, 1)[0]
    with pytest.raises(UnknownName, match="light"):
        scene.change(skin="ligth")
    with pytest.raises(BadInput, match="20"):
        Hand("left", (0.0,) * 19, (True,) * 5)
    with pytest.raises(BadInput, match="held-out"):
        held_out(1, seed=3)
