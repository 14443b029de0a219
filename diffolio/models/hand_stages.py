"""Giving a Hand's two trained stages at work: hands and their mask first, and the person around them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.control import ControlAdapter, ControlConfig
from diffolio.models.controlled import controlled, load_control
from diffolio.models.hands import check_hands, crop_boxes, into_crops, largest, on_canvas, posed
from diffolio.models.joint_network import JointNetwork, load_joint
from diffolio.models.joint_sampling import ddim_joint
from diffolio.models.outpainting import outpaint
from diffolio.models.swapped import load_weights, swapped
from diffolio.models.text import listed
from diffolio.process.expansion import Expansion

if TYPE_CHECKING:
    from diffolio.models.model import Model

MODALITIES, CONTROL = ("hand", "mask"), "skeleton"
CONFIG = ControlConfig({CONTROL: 3})


@dataclass(frozen=True, eq=False)
class TwoStaged:
    """``images`` (B, 3, H, W), the generated ``hand_mask`` bool (B, H, W), ``stage1`` (B, 3, H, W): hands on neutral ground, and the whole
    ``skeleton`` (B, 3, H, W)."""

    images: Tensor
    hand_mask: Tensor
    stage1: Tensor
    skeleton: Tensor


@dataclass(frozen=True, eq=False)
class TwoStage:
    """Both stages, trained, on the model that they belong to, which is as it was after each call. ``unet``: the second stage's weights by
    name, {} if the base was frozen."""

    model: Model
    network: JointNetwork
    hand: ControlAdapter
    body: ControlAdapter
    unet: dict[str, Tensor]
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, start: str | Path | None = None, model: Model | None = None, body: str = "body") -> TwoStage:
        """From the folder of a training or its ``export``, or the bundled one, with its own base if it brings one, else on ``model``."""
        from diffolio.miniatures.hands_base import HandsBase

        place = export_of(start)
        model, notes = HandsBase.under(place, model, "stages")
        network, _ = load_joint(place / "hand", model)
        with network.on(model):
            hand = load_control(place / "hand_control", model)
        unet = load_weights(place / body / "unet", model)[0] if (place / body / "unet").is_dir() else {}
        return cls(model, network, hand, load_control(place / body / "control", model), unet, notes)

    def hands(
        self, hand_pose: Tensor, size: tuple[int, int], prompt: str | Sequence[str] = "a hand", *, seed: int = 0, steps: int = 25
    ) -> tuple[Tensor, Tensor]:
        """Stage 1: hands' keypoints (B, 1 or 2, 21, 2 or 3) in pixels, NaN for what is not known -> hands on neutral ground
        (B, 3, H, W) and their generated mask bool (B, H, W). BadInput as ``models.hands.check_hands`` says."""
        there = check_hands(hand_pose, size, self.model.factor)
        which = there.nonzero()
        chosen, side = hand_pose[there].float(), self.model.default_size
        boxes = crop_boxes(chosen)
        bones = posed(None, into_crops(chosen, boxes, side)[:, None], (side, side)).to(self.model.device)
        texts = listed(prompt) * (len(hand_pose) if isinstance(prompt, str) else 1)
        if len(texts) != len(hand_pose):
            raise BadInput(f"{len(texts)} hand prompts for {len(hand_pose)} pictures: give one, or one for each")
        sample = which[:, 0].tolist()
        with torch.no_grad():
            condition = self.model.condition([texts[i] for i in sample])
        cells = (side // self.model.factor,) * 2
        with self.network.on(self.model), controlled(self.model, self.hand, {CONTROL: bones}):
            # Both hands of a picture start from one noise, which makes them more alike.
            found = ddim_joint(self.model, self.network, condition, cells, steps=steps, seed=[seed + i for i in sample])
        with torch.no_grad():
            picture, mask = (self.model.decode(found[name]) for name in MODALITIES)
        return on_canvas(picture, largest(mask.mean(1) > 0.5), boxes, sample, len(hand_pose), size)

    def run(
        self, hand_pose: Tensor, body_pose: Tensor | None, prompt: str | Sequence[str], expand_until: float = 0.6, radius: float = 1 / 8, *,
        hand_prompt: str | Sequence[str] = "a hand", size: tuple[int, int] | None = None,
        expansion: Expansion | None = None, jumps: int = 0, seed: int = 0, steps: int = 25, guidance_scale: float | None = None,
    ) -> TwoStaged:  # fmt: skip
        """Both stages. Poses in pixels of ``size`` (height, width): hands as above, ``body_pose`` (B, 12, 2) or None; a prompt for each
        picture, which only the second stage reads. ``expansion``: the whole schedule, in the place of ``expand_until`` and ``radius``."""
        size = size or (self.model.default_size,) * 2
        expansion = expansion or Expansion(round(radius * min(size)), expand_until, free=min(0.1, 1 - expand_until))
        canvas, mask = self.hands(hand_pose, size, hand_prompt, seed=seed, steps=steps)
        options: dict[str, Any] = {"jumps": jumps, "seed": seed, "steps": steps, "guidance_scale": guidance_scale}
        images, skeleton = self.around(canvas, mask, hand_pose, body_pose, prompt, expansion, **options)
        return TwoStaged(images, mask, canvas, skeleton)

    def around(
        self, canvas: Tensor, mask: Tensor, hand_pose: Tensor, body_pose: Tensor | None, prompt: str | Sequence[str],
        expansion: Expansion, *, jumps: int = 0, seed: int = 0, steps: int = 25, guidance_scale: float | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Stage 2 around a given canvas (B, 3, H, W) with its mask: pictures, and the whole skeleton."""
        size = (int(canvas.shape[-2]), int(canvas.shape[-1]))
        skeleton = posed(body_pose, hand_pose.float(), size).to(self.model.device)
        texts = listed(prompt) * (len(canvas) if isinstance(prompt, str) else 1)
        if len(texts) != len(canvas):
            raise BadInput(f"{len(texts)} prompts for {len(canvas)} pictures: give one, or one for each")
        scale = self.model.guidance_scale if guidance_scale is None else guidance_scale
        with torch.no_grad():
            condition, given = self.model.condition(texts), self.model.encode(canvas)
        options: dict[str, Any] = {"steps": steps, "guidance_scale": scale, "seed": seed, "jumps": jumps}
        with swapped(self.model.denoiser, self.unet), controlled(self.model, self.body, {CONTROL: skeleton}):
            latents = outpaint(self.model, condition, given, mask, expansion, **options)
        with torch.no_grad():
            return self.model.decode(latents), skeleton


def hand_generator(model: Model, seed: int = 0) -> tuple[JointNetwork, ControlAdapter]:
    """Stage 1, untrained: the base's UNet over picture and mask together, and an adapter that reads the hand's skeleton."""
    network = JointNetwork(model, MODALITIES, inputs=(1.0, 0.0), outputs=(1.0, 1.0), rank=0, seed=seed)
    return network, ControlAdapter(network.unet, CONFIG, model.factor, seed=seed).to(model.device)


def export_of(start: str | Path | None) -> Path:
    """The folder of weights: of a training, itself, or the bundled one."""
    from diffolio import miniatures

    if start is None:
        return miniatures.adapter("hand_to_diffusion")
    return Path(start) / "export" if (Path(start) / "export").is_dir() else Path(start)


def read_pose(path: Path, size: int, count: int) -> tuple[Tensor, Tensor | None]:
    """A pose file for ``count`` pictures of ``size`` pixels: {"hands": one or two lists of 21 [x, y] or null, "body": 12 of them or left
    out}, in shares of the picture. BadInput for what it is not."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        hands, body = given["hands"], given.get("body")
        unknown = [float("nan")] * 2
        points = torch.tensor([[joint or unknown for joint in hand] for hand in hands], dtype=torch.float32)
        joints = None if body is None else torch.tensor([joint or unknown for joint in body], dtype=torch.float32)
        if points.dim() != 3 or any(part.shape[-1] != 2 for part in (points, joints) if part is not None):
            raise ValueError("a joint is two numbers, x and y")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f'{path} is no pose: it needs {{"hands": [[[x, y] or null, 21 of them], ...], "body": [12 of them]}} ({error})'
        ) from error
    # check_hands and posed refuse other numbers of joints.
    return (points * size)[None].expand(count, *points.shape), None if joints is None else (joints * size)[None].expand(
        count, *joints.shape
    )
