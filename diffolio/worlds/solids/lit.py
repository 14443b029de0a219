"""Scenes of solids under two suns: what shading estimation, light control and relighting learn from."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffolio.geometry.shading import normals_of
from diffolio.worlds.solids.captions import caption
from diffolio.worlds.solids.render import render
from diffolio.worlds.solids.sample import Mixture, sample_scenes
from diffolio.worlds.solids.scene import Scene

MIXTURE = Mixture(settings=(0.85, 0.15, 0.0))
"""Under an open sky or in the void: the lamp of a room is no sun."""


@dataclass(frozen=True)
class LitScenes:
    """N scenes, each under two suns of the same strength, at ``size`` pixels.

    ``rgb`` uint8 (N, 2, 3, H, W); ``direct`` uint8 (N, 2, 1, H, W), of a sun of strength 1, with cast shadows; ``albedo`` uint8
    (N, 3, H, W); ``ambient`` float16 (N, 1, H, W); ``depth`` float32 (N, H, W); ``light`` (N, 2, 3), unit vectors in view axes.
    """

    scenes: list[Scene]
    rgb: Tensor
    direct: Tensor
    albedo: Tensor
    ambient: Tensor
    depth: Tensor
    light: Tensor

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def strength(self) -> Tensor:
        """Of the suns, (N,)."""
        return torch.tensor([scene.lights[0].strength for scene in self.scenes])

    def normals(self, index: Tensor | slice) -> Tensor:
        """From the depth, in view axes."""
        return normals_of(self.depth[index])

    def captions(self, index: list[int], rng: random.Random | None = None) -> list[str]:
        return [caption(self.scenes[i], rng) for i in index]


def lit_scenes(n: int, seed: int, size: int = 64, mixture: Mixture = MIXTURE) -> LitScenes:
    """``n`` scenes of ``mixture``, the second sun drawn as the first; the first k of n do not depend on n."""
    scenes = sample_scenes(n, seed, mixture)
    other = [_relit(scene, random.Random(f"relit/{seed}/{i}")) for i, scene in enumerate(scenes)]
    parts = [_drawn(scenes[i : i + 32], other[i : i + 32], size) for i in range(0, n, 32)]
    return LitScenes(scenes, *(torch.cat(column) for column in zip(*parts, strict=True)))


def view_lights(scenes: list[Scene], rotation: Tensor) -> Tensor:
    """Towards the first light of each scene, (B, 3) in view axes; ``rotation`` (B, 3, 3) takes the world to a camera's axes."""
    world = torch.tensor([scene.lights[0].direction for scene in scenes])
    camera = torch.einsum("bij,bj->bi", rotation, world)
    return camera * torch.tensor([1.0, -1.0, -1.0])


def _relit(scene: Scene, rng: random.Random) -> Scene:
    sun = replace(scene.lights[0], azimuth=rng.uniform(-75, 75), elevation=rng.uniform(35, 70))
    return replace(scene, lights=(sun,))


def _drawn(first: list[Scene], second: list[Scene], size: int) -> tuple[Tensor, ...]:
    both = [render(scenes, size=size) for scenes in (first, second)]
    strength = torch.tensor([scene.lights[0].strength for scene in first]).view(-1, 1, 1, 1)
    light = [view_lights(s, r.cameras.world_to_camera[:, :3, :3]) for s, r in zip((first, second), both, strict=True)]
    one = both[0]
    return (
        torch.stack([_bytes(r.rgb) for r in both], 1),
        torch.stack([_bytes(r.direct / strength) for r in both], 1),
        _bytes(one.albedo),
        (one.shading - one.direct).half(),
        one.depth,
        torch.stack(light, 1),
    )


def _bytes(x: Tensor) -> Tensor:
    return (x * 255).round().clamp(0, 255).byte()
