"""What EffiVED's data builder starts from, out of the bundled worlds: edits of tabletop pictures, and clips with edited key frames.

No clip is ever drawn with its edit: of a clip only single frames are edited, as pictures. Exact twins of clips are for evaluation.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from diffolio.training.edit_clips import ImageEdit, VideoEdit
from diffolio.worlds.motion import Mixture, Script, flow_between, render_clips, sample_scripts
from diffolio.worlds.motion.edits import Change, draw_change
from diffolio.worlds.tabletop import Mixture as Pictures
from diffolio.worlds.tabletop import describe, render, sample_scenes

SEED = 130_000_000  # of training; what is evaluated starts elsewhere
MOVERS = Mixture(counts=(0.75, 0.25), motions=(0.72, 0.18, 0.0, 0.0, 0.10), bent=0.0, camera=0.0)
FLAT = 0.95  # share of the flat style among what is edited: only a flat scene can become night or snow
MARGIN = 1.5  # side of an edited picture over that of the clips, so that a camera finds detail in it


def tabletop_edits(n: int, seed: int = 0, size: int = 64) -> list[ImageEdit]:
    """``n`` edits of tabletop pictures of one and two things, each picture half as large again as ``size``."""
    mixture = Pictures(counts=(0.6, 0.4, 0.0), plain=0.8, flat=FLAT, in_front=0.0, canonical=True)
    scenes = sample_scenes(n, SEED + seed, mixture)
    changes = [draw_change(scene, random.Random(f"effived/{seed}/picture/{i}")) for i, scene in enumerate(scenes)]
    side = round(MARGIN * size)
    parts = [
        [render(chunk[i : i + 64], side).images for i in range(0, n, 64)]
        for chunk in (scenes, [change.of(scene) for change, scene in zip(changes, scenes, strict=True)])
    ]
    before, after = (torch.cat(part) for part in parts)
    return [ImageEdit(a, b, change.instruction) for a, b, change in zip(before, after, changes, strict=True)]


def motion_edits(n: int, seed: int = 0, size: int = 64, frames: int = 8) -> list[VideoEdit]:
    """``n`` clips with their first and last frame edited as pictures, and the exact flow to both from every frame.

    Snow is left out of what is asked for: it hangs on the picture and does not move with the things.
    """
    scripts = sample_scripts(n, SEED + seed, MOVERS, frames)
    changes = [
        draw_change(script.scene, random.Random(f"effived/{seed}/clip/{i}"), styles=("night",))
        for i, script in enumerate(scripts)
    ]
    return [video_edit(script, change, size) for script, change in zip(scripts, changes, strict=True)]


def video_edit(script: Script, change: Change, size: int = 64) -> VideoEdit:
    """A clip, its first and last frame edited, and the flow to them."""
    last = script.length - 1
    ends = (0, last)
    edited = render([change.of(script.scene_at(key)) for key in ends], size).images
    named = None
    if change.index is not None:
        named = render([script.scene_at(key) for key in ends], size).full[:, change.index]
    flows: dict[int, Tensor] = {}
    hidden: dict[int, Tensor] = {}
    for key in ends:
        both = [flow_between(script, t, key, size) for t in range(script.length)]
        flows[key], hidden[key] = (torch.stack([pair[i] for pair in both]) for i in (0, 1))
    captions = (describe(script.scene), describe(change.of(script.scene)))
    return VideoEdit(
        render_clips([script], size)[0], dict(zip(ends, edited, strict=True)), flows, hidden, change.instruction, named, captions
    )
