"""Hands in a canvas: squares around them, there and back, masks, and poses that are refused."""

import json

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.models import DiffolioWarning
from diffolio.models.hand_stages import read_pose
from diffolio.models.hands import NEUTRAL, check_hands, crop_boxes, crops, into_crops, largest, on_canvas, posed
from diffolio.worlds.hands import held_out_bodies, render_bodies


@pytest.fixture(scope="module")
def drawn():
    return render_bodies(held_out_bodies(2, 970_100), 64)


def test_a_crop_holds_its_hand_and_goes_back_to_its_place(drawn):
    hands = drawn.hand_keypoints[:, :1][~drawn.hand_keypoints[:, :1].isnan().flatten(2).any(-1)]
    boxes = crop_boxes(hands)
    inside = into_crops(hands, boxes, 64)
    assert float(inside[..., :2].min()) > 4 and float(inside[..., :2].max()) < 60
    back = inside[..., :2] * boxes[:, 2].view(-1, 1, 1) / 64 + boxes[:, None, :2]
    torch.testing.assert_close(back, hands[..., :2], atol=1e-4, rtol=0)
    n = len(hands)
    cut = crops(drawn.images[:n], boxes, int(boxes[0, 2]))[:1]
    canvas, mask = on_canvas(cut, torch.ones(1, *cut.shape[-2:], dtype=torch.bool), boxes[:1], [0], 1, (64, 64))
    left, top, side = boxes[0].clamp_min(0).tolist()
    torch.testing.assert_close(canvas[0, :, top + 1 : top + 9, left + 1 : left + 9],
                               drawn.images[0, :, top + 1 : top + 9, left + 1 : left + 9], atol=2e-2, rtol=0)  # fmt: skip
    assert int(mask.sum()) <= side**2 and int(mask.sum()) > 0


def test_the_ground_is_neutral_and_overlapping_hands_are_merged_with_a_warning():
    picture, cover = torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool)
    picture[1], cover[:, 2:6, 2:6] = 1.0, True
    apart = torch.tensor([[0, 0, 8], [20, 20, 8]])
    canvas, mask = on_canvas(picture, cover, apart, [0, 0], 1, (32, 32))
    assert int(mask.sum()) == 32 and torch.allclose(canvas[0, :, 15, 15], torch.tensor(NEUTRAL))
    with pytest.warns(DiffolioWarning, match="merged"):
        canvas, mask = on_canvas(picture, cover, torch.tensor([[4, 4, 8], [6, 4, 8]]), [0, 0], 1, (32, 32))
    assert int(mask.sum()) == 24
    assert bool((canvas[0, :, 6:10, 6:8] == 0).all()), "the later hand's ground does not lie over the earlier hand"
    assert bool((canvas[0, :, 6:10, 8:12] == 1).all())
    with pytest.raises(BadInput, match="empty"):
        on_canvas(picture, cover & False, apart, [0, 0], 1, (32, 32))


def test_the_largest_part_is_the_mask():
    mask = torch.zeros(2, 16, 16, dtype=torch.bool)
    mask[0, 1:3, 1:3], mask[0, 8:14, 8:14] = True, True
    assert int(largest(mask).sum()) == 36 and not bool(largest(mask)[1].any())


def test_poses_that_are_refused(drawn):
    hands = drawn.hand_keypoints
    assert torch.equal(check_hands(hands, (64, 64), 2), ~hands.isnan().flatten(2).any(-1))
    with pytest.raises(BadInput, match="outside of the canvas"):
        check_hands(hands + 60, (64, 64), 2)
    with pytest.raises(BadInput, match=r"smaller than 2 latent cells.*take a crop"):
        check_hands(torch.rand(1, 1, 21, 2) * 3 + 10, (64, 64), 2)
    with pytest.raises(BadInput, match="without any hand"):
        check_hands(torch.full((1, 2, 21, 2), torch.nan), (64, 64), 2)
    with pytest.raises(BadInput, match="give \\(B, 1 or 2, 21"):
        check_hands(hands[:, 0], (64, 64), 2)
    few = hands[:, :1].clone().nan_to_num(30.0)
    few[:, :, 4:] = torch.nan
    with pytest.raises(BadInput, match="4 known joints: at least 5"):
        check_hands(few, (64, 64), 2)
    with pytest.raises(BadInput, match="body poses of shape"):
        posed(torch.zeros(2, 5, 2), hands, (64, 64))
    with pytest.raises(BadInput, match="one of each"):
        posed(torch.zeros(3, 12, 2), hands, (64, 64))


def test_missing_joints_are_dashed(drawn):
    hand = drawn.hand_keypoints[:1, :1].nan_to_num(30.0)
    whole = posed(None, hand, (64, 64))
    hand = hand.clone()
    hand[:, :, 6:8] = torch.nan
    there = check_hands(hand, (64, 64), 2)
    dashed = posed(None, hand, (64, 64))
    assert bool(there.all()) and not torch.equal(whole, dashed) and float(dashed.sum()) > 0.5 * float(whole.sum())


def test_pose_files(tmp_path):
    joints = [[0.3 + 0.01 * k, 0.5] for k in range(21)]
    path = tmp_path / "pose.json"
    path.write_text(json.dumps({"hands": [[None, *joints[1:]]], "body": [[0.5, 0.1 * k] for k in range(12)]}))
    hands, body = read_pose(path, 64, 3)
    assert hands.shape == (3, 1, 21, 2) and body.shape == (3, 12, 2) and bool(hands[:, :, 0].isnan().all())
    assert float(hands[0, 0, 20, 1]) == 32
    path.write_text(json.dumps({"hands": [joints]}))
    assert read_pose(path, 64, 1)[1] is None
    for text in ("{}", "[1]", '{"hands": [[1, 2]]}', "no"):
        path.write_text(text)
        with pytest.raises(BadInput, match="is no pose"):
            read_pose(path, 64, 1)
