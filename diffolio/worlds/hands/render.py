"""From hands to pictures with exact keypoints, visibility, silhouette, fingers and depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.worlds.hands.capsules import Capsules, draw
from diffolio.worlds.hands.kinematics import FINGER_OF, KEYPOINTS, PARENTS, forward, radii, rotation
from diffolio.worlds.hands.scene import GROUNDS, SKINS, Hand, Scene

PALM = 5  # label of what is no finger; the fingers are 0 to 4
_BONES = tuple((PARENTS[k], k) for k in range(KEYPOINTS) if k % 4 != 1 and k)  # the 15 of the fingers
# The palm, over the keypoints and four more: both sides of the wrist (21 the thumb's, 22), its stump (23) and the palm's middle (24).
_PALM = ((21, 5), (22, 17), (24, 9), (24, 13), (0, 24), (5, 9), (9, 13), (13, 17), (21, 1), (1, 5), (1, 24), (0, 23), (21, 22))
_THICK = {0: 1.0, 1: 0.07, 5: 0.078, 9: 0.078, 13: 0.074, 17: 0.068, 21: 0.085, 22: 0.085, 23: 0.115, 24: 0.135}
NAILS = (4, 8, 12, 16, 20)


@dataclass(frozen=True)
class Rendering:
    """``images`` (B, 3, H, W) in [0, 1]; ``keypoints`` (B, 21, 3): x, y in pixels, z in pixels towards the viewer;
    ``visible`` bool (B, 21): nothing nearer hides it and it lies in the picture; ``silhouette`` bool (B, H, W);
    ``fingers`` int64 (B, H, W): 0 to 4, PALM, or -1; ``depth`` (B, H, W), -inf off the hand; ``raised`` bool (B, 5)."""

    images: Tensor
    keypoints: Tensor
    visible: Tensor
    silhouette: Tensor
    fingers: Tensor
    depth: Tensor
    raised: Tensor

    @property
    def count(self) -> Tensor:
        """(B,) fingers raised."""
        return self.raised.sum(1)

    @property
    def order(self) -> Tensor:
        """(B, 5): the fingers from the nearest fingertip to the farthest."""
        return self.keypoints[:, NAILS, 2].argsort(1, descending=True)


def keypoints(hands: Sequence[Hand], height: int, width: int) -> Tensor:
    """(B, 21, 3) in pixels, by weak perspective."""
    angles, shape = torch.tensor([h.angles for h in hands]), torch.tensor([h.shape for h in hands])
    left = torch.tensor([h.side == "left" for h in hands])
    yaw, pitch, roll = (torch.tensor([getattr(h, name) for h in hands]) for name in ("yaw", "pitch", "roll"))
    points = forward(angles, shape, left) @ rotation(yaw, pitch, roll).mT
    points = points * (1 + 0.15 * points[..., 2:])  # nearer is larger
    scale = torch.tensor([h.size for h in hands]).view(-1, 1) * min(height, width)
    wrist = torch.tensor([[h.x * width, h.y * height] for h in hands])
    x, y = wrist[:, :1] + points[..., 0] * scale, wrist[:, 1:] - points[..., 1] * scale
    return torch.stack([x, y, points[..., 2] * scale], -1)


def capsules(hands: Sequence[Hand], points: Tensor, skins: Tensor, side: int) -> Capsules:
    """A hand's flesh (fingers 0 to 4, PALM) around its keypoints; ``skins`` (B, 3), ``side`` the picture's shorter side."""
    shape = torch.tensor([h.shape for h in hands])
    scale = torch.tensor([h.size for h in hands]).view(-1, 1) * side
    flesh = radii(shape) * scale
    bones = [*_BONES, *_PALM]
    a, b = (torch.tensor([bone[i] for bone in bones]) for i in (0, 1))
    label = torch.tensor([FINGER_OF[k] for _, k in _BONES] + [PALM] * len(_PALM))
    across, up = points[:, 5] - points[:, 17], (points[:, 9] + points[:, 13]) / 2 - points[:, 0]
    more = [points[:, 0] + 0.17 * across, points[:, 0] - 0.17 * across, points[:, 0] - 0.2 * up, points[:, 0] + 0.55 * up]
    every = torch.cat([points, torch.stack(more, 1)], 1)
    thick = torch.tensor([_THICK.get(k, 0.0) for k in range(len(every[0]))]) * (shape[:, :1] * shape[:, 3:]) * scale
    thick[:, 0] = 0.115 * scale[:, 0]
    finger = torch.tensor([FINGER_OF[k] for _, k in _BONES] + [-1] * len(_PALM)) >= 0
    padded = torch.cat([flesh, thick[:, KEYPOINTS:]], 1)
    radius = torch.stack([torch.where(finger, padded[:, k], thick[:, k]) for k in (a, b)], -1)
    start, end = every[:, a], every[:, b]
    colour = skins[:, None].expand(-1, len(bones), 3)
    # Nails sit on the back of the last bones: a cue of which face is seen.
    tip = torch.tensor(NAILS)
    along = points[:, tip] - points[:, tip - 1]
    out = _backs(hands, points)[:, None] * 0.62 * flesh[:, tip, None]
    nail = points[:, tip] + out
    spread = torch.stack([0.55 * flesh[:, tip]] * 2, -1)
    pale = (skins * 0.6 + torch.tensor([0.98, 0.78, 0.76]) * 0.4)[:, None].expand(-1, 5, 3)
    return Capsules(
        torch.cat([start, nail - 0.12 * along], 1), torch.cat([end, nail + 0.05 * along], 1), torch.cat([radius, spread], 1),
        torch.cat([colour, pale], 1), torch.cat([label, torch.arange(5)]),
    )  # fmt: skip


def _backs(hands: Sequence[Hand], points: Tensor) -> Tensor:
    """Unit vectors out of the hands' backs, (B, 3) in the picture's axes."""
    yaw, pitch, roll = (torch.tensor([getattr(h, name) for h in hands]) for name in ("yaw", "pitch", "roll"))
    back = rotation(yaw, pitch, roll) @ torch.tensor([0.0, 0.0, -1.0])
    return back * torch.tensor([1.0, -1.0, 1.0])


def ground(colours: Tensor, shading: Tensor, height: int, width: int) -> Tensor:
    """(B, 3, H, W): ``colours`` (B, 3) that darken by ``shading`` (B,) from the upper left to the lower right."""
    ramp = torch.linspace(0, 1, height).view(-1, 1) + torch.linspace(0, 1, width).view(1, -1)
    return colours[:, :, None, None] * (1 - shading.view(-1, 1, 1, 1) * ramp / 2)


def render(scenes: Scene | Sequence[Scene], size: int | tuple[int, int] = 64) -> Rendering:
    """Draw scenes, ``size`` the side or (height, width) in pixels, 16 to 1024."""
    scenes = [scenes] if isinstance(scenes, Scene) else list(scenes)
    height, width = check_size(size, len(scenes))
    hands = [s.hand for s in scenes]
    points = keypoints(hands, height, width)
    skins = torch.tensor([SKINS[s.skin] for s in scenes])
    grounds = torch.tensor([GROUNDS[s.ground] for s in scenes])
    below = ground(grounds, torch.tensor([s.shading for s in scenes]), height, width)
    drawn = draw(capsules(hands, points, skins, min(height, width)), below)
    flesh = radii(torch.tensor([h.shape for h in hands])) * torch.tensor([h.size for h in hands]).view(-1, 1) * min(height, width)
    return Rendering(
        drawn.rgb, points, seen(points, flesh, drawn.depth), drawn.label >= 0, drawn.label, drawn.depth,
        torch.tensor([h.raised for h in hands]),
    )  # fmt: skip


def seen(points: Tensor, radius: Tensor, depth: Tensor) -> Tensor:
    """Whether keypoints (B, K, 3), each inside flesh of ``radius`` (B, K), are the nearest thing at their pixel of ``depth``
    (B, H, W): bool (B, K), False outside the picture."""
    height, width = depth.shape[1:]
    column, row = points[..., 0].floor().long(), points[..., 1].floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    nearest = torch.gather(depth.flatten(1), 1, index)
    return inside & (nearest <= points[..., 2] + 1.6 * radius + 0.5)


def check_size(size: int | tuple[int, int], count: int) -> tuple[int, int]:
    if not count:
        raise BadInput("nothing to render: give at least one scene")
    height, width = (size, size) if isinstance(size, int) else size
    if not (16 <= height <= 1024 and 16 <= width <= 1024):
        raise BadInput(f"picture size {width}x{height}: each side must lie in 16..1024")
    return height, width
