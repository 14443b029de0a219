"""Hands in a canvas: from keypoints to the square in which a hand is generated large, and back to its place."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.text import DiffolioWarning
from diffolio.worlds.hands.bodies import COLOURS, JOINTS, PARENTS
from diffolio.worlds.hands.kinematics import KEYPOINTS
from diffolio.worlds.hands.scene import GROUNDS
from diffolio.worlds.hands.skeleton import LEAST_JOINTS, bones, skeleton

MARGIN = 0.2  # of the keypoints' extent, to each side of a crop: flesh lies around them
LEAST_CELLS = 2
NEUTRAL = GROUNDS["grey"]


def check_hands(hands: Tensor, size: tuple[int, int], factor: int) -> Tensor:
    """Hands' keypoints (B, 1 or 2, 21, 2 or 3) in pixels of a canvas of ``size`` (height, width): where there is a hand, bool (B, H).

    NaN joints are not known; a hand of NaN alone is not there. BadInput for joints outside the canvas, a hand of less than two latent
    cells of ``factor`` pixels, fewer than five known joints, or a picture without a hand; hands that overlap are warned about.
    """
    if hands.dim() != 4 or hands.shape[1] not in (1, 2) or hands.shape[2] != KEYPOINTS or hands.shape[3] not in (2, 3):
        raise BadInput(f"hand poses of shape {tuple(hands.shape)}: give (B, 1 or 2, 21, 2 or 3), NaN for what is not known")
    known = ~hands.isnan().any(-1)
    count = known.sum(-1)
    if not bool((count > 0).any(1).all()):
        raise BadInput("a picture without any hand: give at least one hand's keypoints for each")
    if bool(((count > 0) & (count < LEAST_JOINTS)).any()):
        raise BadInput(f"a hand of {int(count[count > 0].min())} known joints: at least {LEAST_JOINTS} are needed")
    limit = torch.tensor([size[1], size[0]]).to(hands)
    outside = ((hands[..., :2] < 0) | (hands[..., :2] > limit)) & known[..., None]
    if bool(outside.any()):
        raise BadInput(
            f"a hand has joints outside of the canvas of {size[1]}x{size[0]} pixels: move it in, or leave them out as NaN"
        )
    extent = _extent(hands, known)
    if bool((extent[count > 0] < LEAST_CELLS * factor).any()):
        raise BadInput(
            f"a hand of {float(extent[count > 0].min()):.1f} pixels is smaller than {LEAST_CELLS} latent cells of {factor} pixels: "
            "take a crop of the canvas around it, or a larger canvas"
        )
    return count > 0


def crop_boxes(hands: Tensor) -> Tensor:
    """The square around each hand (N, 21, 2 or 3), whole pixels: left, top, side, (N, 3). It may reach over the canvas."""
    points = hands[..., :2]
    low = torch.where(points.isnan(), torch.inf, points).amin(-2)
    high = torch.where(points.isnan(), -torch.inf, points).amax(-2)
    side = ((high - low).amax(-1) * (1 + 2 * MARGIN)).ceil().clamp_min(4)
    corner = ((low + high) / 2 - side[..., None] / 2).round()
    return torch.cat([corner, side[..., None]], -1).long()


def into_crops(hands: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Keypoints (N, 21, 2 or 3) in pixels of the canvas -> of their crops, ``size`` pixels wide. Depth is scaled along."""
    scale = (size / boxes[:, 2].to(hands))[:, None, None]
    moved = hands.clone()
    moved[..., :2] -= boxes[:, None, :2].to(hands)
    return moved * scale


def crops(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """The squares ``boxes`` (N, 3) of pictures (N, C, H, W), at ``size``; edge pixels go on outside."""
    height, width = images.shape[-2:]
    left, top, side = boxes.float().unbind(1)
    theta = torch.zeros(len(boxes), 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = side / width, (2 * left + side) / width - 1
    theta[:, 1, 1], theta[:, 1, 2] = side / height, (2 * top + side) / height - 1
    grid = F.affine_grid(theta.to(images), [len(images), images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def pasted(canvas: Tensor, mask: Tensor, picture: Tensor, cover: Tensor, box: Sequence[int]) -> None:
    """Lay a crop (3, S, S) with its cover bool (S, S) onto a canvas (3, H, W) and its mask bool (H, W), in place, at ``box``."""
    left, top, side = box
    small = F.interpolate(torch.cat([picture, cover[None].to(picture)])[None], (side, side), mode="area")[0]
    height, width = mask.shape
    rows, columns = slice(max(0, top), min(height, top + side)), slice(max(0, left), min(width, left + side))
    part = small[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    covered = part[3] >= 0.5
    # Where hands overlap, the later lies over the earlier, its ground does not.
    free = covered | ~mask[rows, columns]
    canvas[:, rows, columns] = torch.where(free, part[:3], canvas[:, rows, columns])
    mask[rows, columns] |= covered


def on_canvas(
    pictures: Tensor, covers: Tensor, boxes: Tensor, sample: Sequence[int], count: int, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Generated crops (N, 3, S, S) with their masks bool (N, S, S) at their places in ``count`` neutral canvases (count, 3, H, W), and the
    merged masks bool (count, H, W). ``sample`` says which canvas each belongs to. Warns where hands overlap."""
    canvas = torch.tensor(NEUTRAL).view(1, 3, 1, 1).expand(count, 3, *size).clone().to(pictures)
    mask = torch.zeros(count, *size, dtype=torch.bool, device=pictures.device)
    together = torch.zeros(count, dtype=torch.long)
    for i, at in enumerate(sample):
        alone = torch.zeros_like(mask[at])
        pasted(canvas[at].clone(), alone, pictures[i], covers[i], boxes[i].tolist())
        together[at] += int((alone & mask[at]).sum())
        pasted(canvas[at], mask[at], pictures[i], covers[i], boxes[i].tolist())
    if bool(together.any()):
        warnings.warn("both hands of a picture overlap: their masks are merged into one", DiffolioWarning, stacklevel=3)
    if not bool(mask.flatten(1).any(1).all()):
        raise BadInput("no hand was found in a generated hand picture (its mask is empty): try another seed")
    return canvas, mask


def largest(masks: Tensor) -> Tensor:
    """The largest connected part of each bool mask (N, H, W); an empty mask stays empty."""
    kept = np.zeros(masks.shape, dtype=bool)
    for i, mask in enumerate(masks.cpu().numpy()):
        labels, count = ndimage.label(mask)
        if count:
            kept[i] = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return torch.from_numpy(kept).to(masks.device)


def posed(bodies: Tensor | None, hands: Tensor, size: tuple[int, int], width: float = 0.03) -> Tensor:
    """The whole skeleton (B, 3, H, W) on black: bodies' bones (B, 12, 2), and over them those of hands (B, 1 or 2, 21, 2 or 3)."""
    if bodies is not None and tuple(bodies.shape[1:]) != (len(JOINTS), 2):
        raise BadInput(
            f"body poses of shape {tuple(bodies.shape)}: give (B, {len(JOINTS)}, 2) in pixels, NaN for what is not known"
        )
    if bodies is not None and len(bodies) != len(hands):
        raise BadInput(f"{len(bodies)} body poses and {len(hands)} hand poses: give one of each a picture")
    picture = torch.zeros(len(hands), 3, *size) if bodies is None else bones(bodies.cpu(), PARENTS, COLOURS, size, width)
    for hand in hands.cpu().unbind(1):
        there = ~hand.isnan().any(-1).all(-1)
        if there.any():
            over = skeleton(hand[there], size, width * 0.7)
            picture[there] = torch.where(over.amax(1, keepdim=True) > 0.15, over, picture[there])
    return picture


def _extent(hands: Tensor, known: Tensor) -> Tensor:
    """The longer side (B, H) of the box around the known joints; 0 where there are none."""
    points = hands[..., :2]
    low = torch.where(known[..., None], points, torch.inf).amin(-2)
    high = torch.where(known[..., None], points, -torch.inf).amax(-2)
    return (high - low).amax(-1).clamp_min(0)
