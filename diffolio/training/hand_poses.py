"""The judge of hand poses: it learns from crops of true figures only, and reads keypoints and raised fingers off any picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.models.hands import crop_boxes, crops
from diffolio.nets.hand_pose import SIDE, HandPoseNet

if TYPE_CHECKING:
    from diffolio.training.hands import BodyPictures

JUDGE = "judge.safetensors"


class PoseTraining:
    """Objective: keypoints and raised fingers from crops of true figures, shaken in place, size, light and sharpness."""

    batch = 16

    def __init__(self, data: BodyPictures) -> None:
        there = ~data.hands.flatten(2).isnan().any(-1)
        self.which = there.nonzero()
        self.points, self.raised = data.hands[there], data.raised[there]
        self.images, self.net = data.images, HandPoseNet()
        self.modules: dict[str, nn.Module] = {"pose": self.net}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        i = torch.randint(len(self.which), (self.batch,), generator=generator)
        points = self.points[i]
        shake = torch.rand(self.batch, 4, generator=generator) - 0.5
        boxes = crop_boxes(points).float()
        side = boxes[:, 2] * (1 + 0.24 * shake[:, 0])
        corner = boxes[:, :2] + (boxes[:, 2:] - side[:, None]) / 2 + 0.12 * side[:, None] * shake[:, 1:3]
        boxes = torch.cat([corner, side[:, None]], 1)
        seen = crops(self.images[self.which[i, 0]].float() / 255, boxes, SIDE)
        seen = seen + 0.04 * torch.randn(seen.shape, generator=generator) * (shake[:, 3] + 0.5).view(-1, 1, 1, 1)
        found, logits = self.net(seen.clamp(0, 1))
        placed = F.l1_loss(found, (points - corner[:, None]) / side[:, None, None])
        raised = F.binary_cross_entropy_with_logits(logits, self.raised[i].float())
        return 10 * placed + raised, {"keypoints": float(placed.detach()), "raised": float(raised.detach())}


@torch.no_grad()
def read_poses(net: HandPoseNet, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """What the judge sees in the squares ``boxes`` (N, 3) of pictures (N, 3, H, W): keypoints (N, 21, 2) in pixels, raised bool (N, 5)."""
    found, logits = net(crops(images, boxes, SIDE))
    return boxes[:, None, :2] + found * boxes[:, 2].view(-1, 1, 1), logits > 0


def save_judge(net: HandPoseNet, folder: Path) -> Path:
    """Write the judge of poses (float16 safetensors) to ``folder``."""
    from safetensors.torch import save_file

    save_file({name: value.detach().half().contiguous() for name, value in net.state_dict().items()}, folder / JUDGE)
    return folder / JUDGE


def load_judge(folder: Path) -> HandPoseNet:
    """The judge in ``folder``. BadInput if there is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    net = HandPoseNet()
    try:
        net.load_state_dict({name: value.float() for name, value in load_file(folder / JUDGE).items()})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadInput(
            f"{folder} holds no judge of poses ({JUDGE}): train with compare=true ({str(error).splitlines()[0]})"
        ) from error
    return net.eval().requires_grad_(False)
