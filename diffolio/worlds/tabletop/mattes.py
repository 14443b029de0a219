"""Tabletop pictures in layers: what stands on the table, the table behind it, and the true alpha between them.

    picture = alpha * foreground + (1 - alpha) * background          (colours are straight, not premultiplied)

Things have soft edges, one to a few pixels wide, and some discs are of glass, through which the table shows. Strands as thin as hair are
not drawn.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.worlds.tabletop.palette import COLOURS, paint
from diffolio.worlds.tabletop.render import _draw, backgrounds
from diffolio.worlds.tabletop.sample import Mixture
from diffolio.worlds.tabletop.scene import Scene, Thing
from diffolio.worlds.tabletop.shapes import silhouette

EDGES = (1.0, 5.0)  # width of an edge in pixels of a picture of 64: from crisp to soft
GLASS, OPACITY = 0.5, (0.4, 0.8)  # share of the discs that are of glass, and how much of it is seen
STYLES = ("flat", "night")
MIXTURE = Mixture(counts=(0.5, 0.5, 0.0), flat=1.0, plain=0.2)  # most tables have a texture: on plain ones any keying will do


@dataclass(frozen=True)
class Layers:
    """``images``, ``foreground`` and ``background`` float (B, 3, H, W), ``alpha`` (B, 1, H, W), all in [0, 1]."""

    images: Tensor
    alpha: Tensor
    foreground: Tensor
    background: Tensor


def layers(scenes: Sequence[Scene], size: int = 64) -> Layers:
    """Scenes in layers, ``size`` pixels square; softness and glass follow the scene's own seed.

    BadInput for a style in which something else lies over the things (outline, snow).
    """
    strange = sorted({scene.style for scene in scenes} - set(STYLES))
    if not scenes or strange:
        raise BadInput(f"{len(scenes)} scenes in the styles {strange}: give at least one, each flat or at night")
    background = backgrounds(scenes, size, size)
    images, clear, colour = background.clone(), torch.ones(len(scenes), 1, size, size), torch.zeros_like(background)
    for i, scene in enumerate(scenes):
        rng = random.Random(f"matte/{scene.seed}")
        for k, thing in enumerate(scene.things):
            edge, see = rng.uniform(*EDGES) * size / 64, rng.uniform(*OPACITY)
            glass = thing.kind == "circle" and rng.random() < GLASS
            cover = coverage(thing, size, edge) * (see if glass else 1.0)
            drawn = painted(scene, k, size)
            images[i] = torch.lerp(images[i], drawn, cover)
            clear[i] *= 1 - cover
            colour[i] = cover * drawn + (1 - cover) * colour[i]
    alpha = 1 - clear
    ground = torch.tensor([paint(COLOURS[scene.things[-1].colour], scene.style) for scene in scenes])[:, :, None, None]
    foreground = torch.where(alpha > 0, colour / alpha.clamp_min(1e-6), ground)
    return Layers(images.clamp(0, 1), alpha, foreground.clamp(0, 1), background)


def coverage(thing: Thing, size: int, edge: float) -> Tensor:
    """(H, W) in [0, 1]: how much of each pixel a thing covers, falling over ``edge`` pixels across its outline."""
    half = thing.size * size / 2
    steps = torch.arange(size) + 0.5
    dx, dy = ((steps - thing.x * size) / half)[None, :], ((steps - thing.y * size) / half)[:, None]
    turn = torch.deg2rad(torch.tensor(thing.angle))
    points = torch.stack([dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin()], -1)
    return (0.5 - silhouette(thing.kind)(points) * half / edge).clamp(0, 1)


def painted(scene: Scene, index: int, size: int) -> Tensor:
    """(3, H, W): the colours of one thing, its own colour reaching on beyond its outline."""
    thing = scene.things[index]
    rgb = torch.tensor(paint(COLOURS[thing.colour], scene.style))
    canvas, cover = rgb[None, :, None, None].repeat(1, 1, size, size), torch.zeros(1, 1, size, size)
    _draw(thing.kind, [replace(scene, things=(thing,), relation=None, subject=0)], 0, False, canvas, cover, torch.tensor([0]))
    return canvas[0]
