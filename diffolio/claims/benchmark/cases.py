"""What the edit benchmark asks: a picture, what it shows, what it should show, where the edit may act, and the truth if it is known."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.errors import choose
from diffolio.metrics.edit import change_mask
from diffolio.worlds.tabletop import Reading, Scene, judge, read, render
from diffolio.worlds.tabletop.twins import TWINS, twins
from diffolio.worlds.tabletop.verdict import SURE

SEED = 970_000  # of scenes that no training and no claim saw


@dataclass(frozen=True)
class Case:
    """``image`` (3, H, W) in [0, 1], ``mask`` bool (H, W); ``kind`` one of ``registry.EDITS`` or "random".

    ``truth`` (3, H, W) is the picture that a perfect edit would give, ``scene`` what it shows, ``before`` what the source shows; None for
    photographs.
    ``unscored`` bool (H, W) marks pixels that are no background either.
    """

    name: str
    kind: str
    image: Tensor
    prompt: str
    target: str
    mask: Tensor
    truth: Tensor | None = None
    scene: Scene | None = None
    before: Scene | None = None
    unscored: Tensor | None = None

    @property
    def inside(self) -> Tensor:
        """Everything that is not scored as background."""
        return self.mask if self.unscored is None else self.mask | self.unscored


@functools.cache
def tabletop(n: int, size: int, kinds: tuple[str, ...] = TWINS, seed: int = SEED) -> tuple[Case, ...]:
    """``n`` cases of every kind, pictures ``size`` pixels square; the mask is exact: the pixels in which the twin differs."""
    found = []
    for kind in kinds:
        pairs = twins(n, choose("kind of edit", kind, TWINS), seed + 10 * TWINS.index(kind))
        sources, truths = (render(scenes, size).images for scenes in map(list, zip(*pairs, strict=True)))
        masks = change_mask(sources, truths)
        if kind == "style":  # as in PIE-Bench: all of the picture, also where by chance its colour stays
            masks = torch.ones_like(masks)
        found += [
            Case(f"{kind} {i}", kind, sources[i], scene.caption, twin.caption, masks[i], truths[i], twin, scene)
            for i, (scene, twin) in enumerate(pairs)
        ]
    return tuple(found)


def successes(edited: Tensor, cases: Sequence[Case]) -> dict[str, Tensor]:
    """By the reader, 1 or 0 a case, NaN where no scene says what is right: "success", the edit is there, in its place; "all_right", and
    everything else is as the target says too (things, colours, count, relation, ground, style)."""
    known = [i for i, case in enumerate(cases) if case.scene is not None]
    found = {name: torch.full((len(cases),), torch.nan) for name in ("success", "all_right")}
    for i, reading in zip(known, read(edited[known].float().cpu()) if known else (), strict=True):
        scene = cases[i].scene
        assert scene is not None
        same = (reading.background, reading.style) == (scene.background, scene.style)
        found["success"][i] = float(is_there(reading, cases[i]))
        found["all_right"][i] = float(same and judge(reading, scene).all)
    return found


def is_there(reading: Reading, case: Case) -> bool:
    """Whether the picture that was read shows what the edit asks for: at the place of the edit, where it has one."""
    before, scene = case.before, case.scene
    assert before is not None and scene is not None
    if case.kind in ("background", "style"):
        return bool(getattr(reading, case.kind) == getattr(scene, case.kind))
    if case.kind == "delete":
        return not any(int((found.mask & case.mask).sum()) > int(found.mask.sum()) / 2 for found in reading.found)
    (wanted,) = (thing for thing in scene.things if thing not in before.things)
    there = max(reading.found, key=lambda found: int((found.mask & case.mask).sum()), default=None)
    if there is None or not bool((there.mask & case.mask).any()):
        return False
    colour = there.colour == wanted.colour and there.colour_confidence >= SURE
    kind = there.kind == wanted.kind and there.kind_confidence >= SURE
    return {"colour": colour, "object": kind, "add": colour and kind}[case.kind]
