"""What LightIt learns from lit scenes: shading and depth from pictures, and batches for light control and relighting."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.nets.shading import GeometryNet, ShadingNetwork, geometry_loss, shading_loss
from diffolio.training.control import Drawn
from diffolio.worlds.solids.lit import LitScenes

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.models.shading import ShadingEstimator

TEXTLESS = 0.1  # share of captions that are left out, as the base's training does
TEXTLESS_RELIT = 0.5  # a picture that is to be relit says what it shows


class GeometryTraining:
    """Objective: depth from pictures of things on a ground; in the void a plain colour could be either."""

    batch = 16

    def __init__(self, data: LitScenes) -> None:
        self.data, self.net = data, GeometryNet()
        grounded = [i for i, scene in enumerate(data.scenes) if scene.setting == "ground"]
        self.scenes = torch.tensor(grounded or list(range(len(data))))
        self.modules: dict[str, nn.Module] = {"geometry": self.net}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        index, which = _index(self.scenes[:, None].expand(-1, self.data.rgb.shape[1]), self.batch, generator)
        index = self.scenes[index]
        images = self.data.rgb[index, which].float() / 255
        return geometry_loss(self.net.disparity(images), self.data.depth[index])


class ShadingTraining:
    """Objective: direct shading from depth, sun and, for half of the samples, the picture under that sun; N.L stands in for the rest."""

    batch = 12

    def __init__(self, data: LitScenes) -> None:
        self.data, self.net = data, ShadingNetwork()
        self.modules: dict[str, nn.Module] = {"shading": self.net}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        index, which = _index(self.data, self.batch, generator)
        images = None if step % 2 else self.data.rgb[index, which].float() / 255
        shaded = self.net(self.data.depth[index], self.data.light[index, which], images)
        return shading_loss(shaded, self.data.direct[index, which].float() / 255)


@dataclass(frozen=True)
class LitPictures:
    """Pictures to train light control and relighting on: ``rgb`` uint8 (N, K, 3, H, W), one scene under K suns; ``shading`` uint8
    (N, K, 1, H, W), *estimated*; ``normals`` (N, 3, H, W) in view axes; ``captions``; and ``synthetic`` uint8 (N, K, 3, H, W), what a
    relighting method that need not be good makes of the scene under each sun."""

    rgb: Tensor
    shading: Tensor
    normals: Tensor
    captions: tuple[str, ...]
    synthetic: Tensor

    def __post_init__(self) -> None:
        shapes = {len(x) for x in (self.rgb, self.shading, self.normals, self.captions, self.synthetic)}
        if len(shapes) != 1 or self.rgb.dim() != 5 or self.shading.shape[:2] != self.rgb.shape[:2] or not len(self.rgb):
            raise BadInput(
                "pictures, shading, normals, captions and synthetic pictures must belong together, one a scene and sun"
            )


@dataclass(frozen=True)
class Control:
    """Batches for light control: the condition is normals and shading."""

    model: Model
    data: LitPictures

    def __call__(self, batch: int, generator: torch.Generator) -> Drawn:
        index, which = _index(self.data.rgb, batch, generator)
        normals = self.data.normals[index]
        shading = self.data.shading[index, which].float() / 255
        conditions = {"normal": normals * 0.5 + 0.5, "shading": shading}
        return _drawn(self.model, self.data, index, which, conditions, TEXTLESS, generator)


@dataclass(frozen=True)
class Relighting:
    """Batches for relighting, reversed: the condition is the *synthetic* picture under another sun with the target's shading, and what
    is to be denoised is the real picture, so that what comes out stays real."""

    model: Model
    data: LitPictures

    def __call__(self, batch: int, generator: torch.Generator) -> Drawn:
        index, which = _index(self.data.rgb, batch, generator)
        suns = self.data.rgb.shape[1]
        other = (which + 1 + torch.randint(suns - 1, (batch,), generator=generator)) % suns
        conditions = {
            "image": self.data.synthetic[index, other].float() / 255,
            "shading": self.data.shading[index, which].float() / 255,
        }
        return _drawn(self.model, self.data, index, which, conditions, TEXTLESS_RELIT, generator)


@torch.no_grad()
def lit_pictures(data: LitScenes, estimator: ShadingEstimator, shading: str = "direct", batch: int = 32) -> LitPictures:
    """Scenes as training pictures: shading is estimated from depth and sun without the picture, as it is for a new sun; ``shading``
    "n_dot_l" leaves cast shadows out. Synthetic pictures are albedo * (ambient + strength * estimated shading): no highlights, and
    shadows as good as the estimate."""
    parts = []
    for start in range(0, len(data), batch):
        some = slice(start, start + batch)
        depth = data.depth[some]
        make = estimator.shade if shading == "direct" else estimator.n_dot_l
        parts.append(torch.stack([make(depth, data.light[some, k]) for k in range(data.light.shape[1])], 1))
    found = torch.cat(parts)
    light = data.ambient.float()[:, None] + data.strength.view(-1, 1, 1, 1, 1) * found
    synthetic = (data.albedo.float()[:, None] * light).round().clamp(0, 255).byte()
    captions = tuple(data.captions(list(range(len(data))), random.Random(0)))
    return LitPictures(data.rgb, (found * 255).round().byte(), data.normals(slice(None)), captions, synthetic)


def _index(data: LitScenes | Tensor, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scenes, and a sun for each."""
    suns = data.shape[1] if isinstance(data, Tensor) else data.rgb.shape[1]
    return torch.randint(len(data), (batch,), generator=generator), torch.randint(suns, (batch,), generator=generator)


def _drawn(
    model: Model, data: LitPictures, index: Tensor, which: Tensor, conditions: dict[str, Tensor], textless: float,
    generator: torch.Generator,
) -> Drawn:  # fmt: skip
    left_out = torch.rand(len(index), generator=generator) < textless
    captions = ["" if out else data.captions[i] for i, out in zip(index.tolist(), left_out.tolist(), strict=True)]
    with torch.no_grad():
        latents = model.encode((data.rgb[index, which].float() / 255).to(model.device))
    return latents, captions, {name: value.to(model.device) for name, value in conditions.items()}


def trained_estimator(shading: nn.Module, geometry: nn.Module) -> ShadingEstimator:
    """Both networks, frozen."""
    from diffolio.models.shading import ShadingEstimator

    for part in (shading, geometry):
        part.eval().requires_grad_(False)
    return ShadingEstimator(shading, geometry)  # type: ignore[arg-type]
