"""Tabletop pictures as stacks: the empty table, each thing alone on grey, and the mask of what is seen of it, with a prompt for each.

picture = sum_i mask_i thing_i + (1 - sum_i mask_i) table          (masks do not overlap)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.worlds.tabletop.captions import LARGE, SMALL, TILTED, caption, with_article
from diffolio.worlds.tabletop.render import backgrounds, render
from diffolio.worlds.tabletop.sample import Mixture
from diffolio.worlds.tabletop.scene import Scene, Thing

STYLES = ("flat", "night")
MIXTURE = Mixture(counts=(0.0, 1.0, 0.0), plain=0.6, flat=1.0, upright=0.8, in_front=0.0)
EMPTY = "grey"  # the background of layers of things


@dataclass(frozen=True)
class Stack:
    """``images`` (B, L, 3, H, W), the table first, then the things from back to front; ``masks`` (B, L, 1, H, W) of 0 and 1: what is seen
    of each thing; the table's is 1 everywhere. ``pictures`` (B, 3, H, W): the scenes themselves."""

    images: Tensor
    masks: Tensor
    pictures: Tensor


def stacked(scenes: Sequence[Scene], size: int = 64) -> Stack:
    """Scenes of equally many things as stacks, ``size`` pixels square. BadInput for styles in which something else lies over the things."""
    counts = {len(scene.things) for scene in scenes}
    strange = sorted({scene.style for scene in scenes} - set(STYLES))
    if len(counts) != 1 or strange:
        raise BadInput(
            f"scenes of {sorted(counts)} things in the styles {strange}: give scenes of one number of things, flat or at night"
        )
    drawn = render(scenes, size)
    plain = {"background": EMPTY, "texture": "plain", "relation": None, "subject": 0}
    alone = [replace(scene, things=(thing,), **plain) for scene in scenes for thing in scene.things]  # type: ignore[arg-type]
    things = render(alone, size).images.unflatten(0, (len(scenes), -1))
    table = backgrounds(scenes, size, size)[:, None]
    masks = torch.cat([torch.ones(len(scenes), 1, size, size), drawn.visible.float()], 1)[:, :, None]
    return Stack(torch.cat([table, things], 1), masks, drawn.images)


def layer_prompts(scene: Scene, rng: random.Random | None = None) -> list[str]:
    """What each layer shows, the table first. With ``rng`` sizes and tilts are told at times; None: kind and colour alone."""
    texture = "" if scene.texture == "plain" else f"{scene.texture} "
    return [with_article(f"{texture}{scene.background} background"), *(_named(thing, rng) for thing in scene.things)]


def whole_prompt(scene: Scene, rng: random.Random) -> str:
    """A caption of the scene; its relation is always told where there is one, as nothing else says where things stand."""
    text = caption(scene, rng)
    while scene.relation is not None and not _tells(text):
        text = caption(scene, rng)
    return text


def told_layers(prompt: str, given: str = "") -> list[str]:
    """The prompts of the layers of a picture: ``given`` ones, parted by |, or those that a caption of a tabletop tells."""
    from diffolio.worlds.tabletop.depict import depict

    if given.strip():
        return [text.strip() for text in given.split("|")]
    scene = depict(prompt)
    if scene is None:
        raise BadInput(
            f"what the layers of {prompt!r} are cannot be told: name them, the background first, such as "
            "--set layer_prompts='a white background|a red ball'"
        )
    return layer_prompts(scene)


def _named(thing: Thing, rng: random.Random | None) -> str:
    words = []
    if rng is not None and rng.random() < 0.5:
        words = ["small"] if thing.size < SMALL else ["large"] if thing.size > LARGE else []
    if rng is not None and abs(thing.angle) > TILTED and rng.random() < 0.5:
        words.append("tilted")
    return with_article(" ".join([*words, thing.colour, thing.kind]))


def _tells(text: str) -> bool:
    from diffolio.worlds.tabletop.paraphrase import parse

    return parse(text).relation is not None
