"""What Giving a Hand learns from: hands that fill their picture, and figures with their skeletons."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.controlled import controlled
from diffolio.models.hand_stages import CONTROL
from diffolio.models.hands import MARGIN, posed
from diffolio.training.control import ControlTraining, Drawn
from diffolio.training.joint import JointPool, JointTraining, Mode
from diffolio.worlds.hands import Body, Scene, held_out_bodies, render, render_bodies, sample_bodies, sample_scenes
from diffolio.worlds.hands.render import keypoints as keypoints_of

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.models.control import ControlAdapter
    from diffolio.models.joint_network import JointNetwork

TEXTLESS = 0.1
T = TypeVar("T")
SWAP_JOINTS = (0, 1, 5, 6, 7, 2, 3, 4, 10, 11, 8, 9)  # right for left


@dataclass(frozen=True)
class HandPictures:
    """Hands large on neutral ground: ``images`` and ``skeletons`` uint8 (N, 3, H, W), ``masks`` bool (N, H, W), ``captions``."""

    images: Tensor
    masks: Tensor
    skeletons: Tensor
    captions: tuple[str, ...]

    def __post_init__(self) -> None:
        _together(self.images, self.masks, self.skeletons, self.captions)


@dataclass(frozen=True)
class BodyPictures:
    """Figures: ``images`` and ``skeletons``, hands included, uint8 (N, 3, H, W), ``captions``; for the judge alone ``hands`` (N, 2, 21, 2)
    keypoints in pixels, NaN where there is none, and ``raised`` bool (N, 2, 5)."""

    images: Tensor
    skeletons: Tensor
    captions: tuple[str, ...]
    hands: Tensor
    raised: Tensor

    def __post_init__(self) -> None:
        _together(self.images, self.skeletons, self.captions, self.hands, self.raised)


def hand_pictures(n: int, seed: int, size: int) -> HandPictures:
    """``n`` hands of the hands world, each also mirrored, on neutral ground, filling the picture as crops do."""
    scenes = [filling(scene, random.Random(f"fill/{seed}/{i}")) for i, scene in enumerate(sample_scenes(n, seed))]
    parts = []
    for i in range(0, n, 32):
        drawn = render(scenes[i : i + 32], size)
        bones = posed(None, drawn.keypoints[:, None], (size, size))
        parts.append((_bytes(drawn.images), drawn.silhouette, _bytes(bones)))
    # A finger's colour does not depend on the side, so that a mirrored skeleton is the mirrored hand's.
    images, masks, skeletons = (torch.cat([torch.cat(some), torch.cat(some).flip(-1)]) for some in zip(*parts, strict=True))
    return HandPictures(images, masks, skeletons, tuple(f"a {scene.skin} hand" for scene in scenes) * 2)


def filling(scene: Scene, rng: random.Random) -> Scene:
    """The scene with its hand as large and as central as in a crop (``models.hands.crop_boxes``), give or take, on neutral ground."""
    points = keypoints_of([scene.hand], 1, 1)[0, :, :2]
    low, high = points.amin(0), points.amax(0)
    scale = rng.uniform(0.92, 1.06) / (1 + 2 * MARGIN) / float((high - low).max())
    wrist = torch.tensor([scene.hand.x, scene.hand.y])
    middle = wrist + ((low + high) / 2 - wrist) * scale
    to = [0.5 + rng.uniform(-0.03, 0.03) - float(middle[k]) for k in (0, 1)]
    hand = replace(scene.hand, x=scene.hand.x + to[0], y=scene.hand.y + to[1], size=scene.hand.size * scale)
    return replace(scene, hand=hand, ground="grey", shading=0.0)


def body_pictures(bodies: list[Body] | int, seed: int, size: int) -> BodyPictures:
    """Figures of the bodies world, each also mirrored; ``bodies`` or how many to draw."""
    drawn_bodies = sample_bodies(bodies, seed) if isinstance(bodies, int) else bodies
    parts = []
    for i in range(0, len(drawn_bodies), 16):
        drawn = render_bodies(drawn_bodies[i : i + 16], size)
        parts.append((drawn.images, drawn.joints, drawn.hand_keypoints))
    images, joints, hands = (torch.cat(part) for part in zip(*parts, strict=True))
    flip = torch.tensor([-1.0, 1.0, 1.0])
    shift = torch.tensor([float(size), 0.0, 0.0])
    joints = torch.cat([joints, (joints * flip[:2] + shift[:2])[:, list(SWAP_JOINTS)]])
    hands = torch.cat([hands, hands * flip + shift])
    shown = [[b.hands[min(k, len(b.hands) - 1)].raised for k in (0, 1)] for b in drawn_bodies]
    captions = [b.caption for b in drawn_bodies]
    return BodyPictures(
        torch.cat([_bytes(images), _bytes(images).flip(-1)]), _bytes(posed(joints, hands, (size, size))),
        (*captions, *(mirrored(c) for c in captions)), hands[..., :2], torch.tensor(shown).repeat(2, 1, 1),
    )  # fmt: skip


def figures_in_view(n: int, seed: int) -> list[Body]:
    """The first ``n`` held-out figures of which no joint of a hand leaves the picture, as a few of the world's do."""

    def inside(body: Body) -> bool:
        points = keypoints_of(body.hands, 1, 1)[..., :2]
        return bool(((points >= 0) & (points <= 1)).all())

    return [body for body in held_out_bodies(3 * n + 8, seed) if inside(body)][:n]


def mirrored(caption: str) -> str:
    """The caption of the mirrored picture."""
    return re.sub(r"\b(left|right)\b", lambda m: "left" if m[0] == "right" else "right", caption)


@dataclass(frozen=True)
class Both:
    """Batches for a base: figures and hands in turns, without skeletons."""

    hands: HandPictures
    bodies: BodyPictures

    def __call__(self, batch: int, generator: torch.Generator) -> tuple[Tensor, list[str]]:
        data = self.hands if torch.rand((), generator=generator) < 0.4 else self.bodies
        index, captions = _some(data, batch, generator)
        return data.images[index].float() / 255, captions


@dataclass(frozen=True)
class Figures:
    """Batches for body control: the condition is the whole skeleton."""

    model: Model
    data: BodyPictures

    def __call__(self, batch: int, generator: torch.Generator) -> Drawn:
        index, captions = _some(self.data, batch, generator)
        with torch.no_grad():
            latents = self.model.encode((self.data.images[index].float() / 255).to(self.model.device))
        return latents, captions, {CONTROL: (self.data.skeletons[index].float() / 255).to(self.model.device)}


class HandTraining(JointTraining):
    """Objective: the hand's latents and its mask's, diffused together at one level and denoised under the skeleton; the mean of the two
    squared errors. The adapter trains along."""

    def __init__(
        self, model: Model, network: JointNetwork, adapter: ControlAdapter, data: HandPictures, *, batch: int = 4, gamma: float = 0.0
    ) -> None:  # fmt: skip
        super().__init__(model, network, JointPool({}, lambda i, rng: ""), {"both": Mode(1.0)}, batch=batch, gamma=gamma)
        self.adapter, self.data = adapter, data
        self.modules = {"network": network, "adapter": adapter}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        index, captions = _some(self.data, self.batch, generator)
        image, mask = self.data.images[index].float() / 255, self.data.masks[index, None].float().expand(-1, 3, -1, -1)
        with torch.no_grad():
            hand, cover = (self.model.encode(picture.to(self.model.device)) for picture in (image, mask))
        z = self.network.layout.stack(hand=hand, mask=cover)
        skeleton = (self.data.skeletons[index].float() / 255).to(self.model.device)
        with self.network.on(self.model), controlled(self.model, self.adapter, {CONTROL: skeleton}):
            return self.errors(z, captions, [0] * self.batch, random.Random(0), generator).mean(), {}


class BodyTraining(ControlTraining):
    """Objective: the base's own error under the whole skeleton; with ``unfrozen`` the base's UNet trains along."""

    def __init__(
        self, model: Model, adapter: ControlAdapter, data: BodyPictures, *, batch: int = 4, unfrozen: bool = False
    ) -> None:
        super().__init__(model, adapter, Figures(model, data), batch=batch)
        if unfrozen:
            self.modules = {"adapter": adapter, "unet": model.denoiser}


def _some(data: HandPictures | BodyPictures, batch: int, generator: torch.Generator) -> tuple[Tensor, list[str]]:
    index = torch.randint(len(data.images), (batch,), generator=generator)
    left_out = (torch.rand(batch, generator=generator) < TEXTLESS).tolist()
    return index, ["" if out else data.captions[i] for i, out in zip(index.tolist(), left_out, strict=True)]


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().byte()


def _together(*parts: Tensor | tuple[str, ...]) -> None:
    if len({len(part) for part in parts}) != 1 or not len(parts[0]):
        raise BadInput(
            f"training pictures of {[len(part) for part in parts]} parts: give one of each a picture, and at least one"
        )


def seeded(seed: int, make: Callable[[], T]) -> T:
    """What ``make`` makes, its networks drawn from ``seed``; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
