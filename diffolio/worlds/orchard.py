"""The orchard: a fruit under a branch, tied to it by a stalk, or, against common sense, floating in the air.

Fruits are things of the tabletop. An illogical scene has no stalk, or one that ends short of the branch or of the fruit. Captions never
say which it is: they name the fruit, its colour and the branch, and now and then that it hangs, which people say a little more
often of what does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from diffolio.errors import BadInput, choose
from diffolio.worlds.tabletop import COLOURS, Found, Scene, Thing, read, render
from diffolio.worlds.tabletop.palette import BACKGROUNDS, INK
from diffolio.worlds.tabletop.shapes import silhouette

STALKS = ("tied", "none", "short above", "short below")
KINDS = ("circle", "heart", "star", "square")
RULE = "the stalk is tied to the branch"
WOOD: tuple[float, float, float] = (0.45, 0.29, 0.14)
THICK, STALK = 0.085, 0.055  # of the branch and the stalk, in units of the side
GAP = 0.085  # what a short stalk lacks
HANGS = (0.7, 0.3)  # how often the caption says so of what is tied, and of what is not
PALE = 0.22  # how far from the table's colour, in its most different channel, the palest fruit is
DROP = (0.2, 0.28)  # length of a whole stalk
_COLOURS = tuple(name for name in COLOURS if name != "orange")  # wood is a dark orange


@dataclass(frozen=True)
class Orchard:
    """``fruit`` stands where it is drawn; ``branch`` is the height of the branch's middle, both in [0, 1] of the side (y down).
    ``stalk`` is one of ``STALKS``."""

    fruit: Thing
    branch: float
    stalk: str
    background: str = "white"
    caption: str = ""

    def __post_init__(self) -> None:
        choose("stalk", self.stalk, STALKS)

    @property
    def plain(self) -> str:
        """The shortest caption."""
        return f"a {self.fruit.colour} {self.fruit.kind} under a branch"

    @property
    def logical(self) -> bool:
        return self.stalk == "tied"

    @property
    def stalk_span(self) -> tuple[float, float] | None:
        """Where the stalk begins and ends, y; None without one."""
        first, last = self.branch + THICK / 2, top(self.fruit) + 0.02
        return {
            "tied": (first, last), "none": None, "short above": (first + GAP, last), "short below": (first, last - GAP)
        }[self.stalk]  # fmt: skip


def sample_orchard(n: int, seed: int, logical: float = 0.5, kinds: Sequence[str] = KINDS) -> list[Orchard]:
    """``n`` scenes, a share ``logical`` of them tied; the same seed gives the same scenes, the first k of which do not depend on n."""
    if n < 1 or not 0 <= logical <= 1:
        raise BadInput(f"{n} scenes, {logical} of them logical: give at least one, and a share")
    for kind in kinds:
        choose("fruit", kind, KINDS)
    return [_scene(random.Random(f"orchard/{seed}/{i}"), logical, kinds) for i in range(n)]


def draw_orchard(scenes: Sequence[Orchard], size: int = 64) -> Tensor:
    """Pictures (B, 3, size, size) in [0, 1]."""
    images = render([Scene((s.fruit,), s.background) for s in scenes], size).images
    y, x = ((torch.arange(size) + 0.5) / size)[:, None], ((torch.arange(size) + 0.5) / size)[None, :]
    for image, scene in zip(images, scenes, strict=True):
        span, cx = scene.stalk_span, scene.fruit.x
        if span is not None:
            middle, half = sum(span) / 2, (span[1] - span[0]) / 2
            paint(image, torch.maximum((x - cx).abs() - STALK / 2, (y - middle).abs() - half), INK)
        paint(image, ((y - scene.branch).abs() - THICK / 2).expand(size, size), WOOD)
    return images


def paint(image: Tensor, distance: Tensor, colour: tuple[float, float, float]) -> None:
    """Composite a colour onto ``image`` (3, H, W), in place, where the signed distance (H, W; units of the side) is negative."""
    cover = (0.5 - distance * image.shape[-1]).clamp(0, 1)
    image.copy_(torch.lerp(image, torch.tensor(colour)[:, None, None], cover[None]))


def top(fruit: Thing) -> float:
    """The height at which a vertical line through the fruit's middle meets it from above."""
    steps = torch.linspace(-1, 1, 201)
    inside = silhouette(fruit.kind)(torch.stack([torch.zeros_like(steps), steps], -1)) <= 0
    return fruit.y + fruit.size / 2 * float(steps[inside][0])


@dataclass(frozen=True)
class Picked:
    """What was read: ``branch``: there is one; ``tied``: fruit and branch are apart and yet hang together; ``fruit``: the largest thing
    below the branch, or None."""

    branch: bool
    tied: bool
    fruit: Found | None


def read_orchard(images: Tensor) -> list[Picked]:
    """Read square pictures (B, 3, H, H) in [0, 1]. What differs from the table is something, whatever its colour: a branch is a bar across
    the upper part, a fruit the largest thing below that a stalk's width does not cover, and connectedness tells the rest."""
    return [_read(image) for image in images.detach().float().cpu().clamp(0, 1)]


def _read(image: Tensor) -> Picked:
    picture, size = image.permute(1, 2, 0).numpy(), image.shape[-1]
    ground = _table(picture[size // 3 :])
    away = np.abs(picture - ground).max(-1)
    # Of a stalk, more than half of the mixture with the table; the fruit, which is large, may be as pale as pink.
    on = away > 0.5 * np.abs(np.array(INK) - ground).max()
    rows = np.flatnonzero(on[: size // 3].mean(1) > 0.6)
    high = int(rows.max()) if len(rows) else -2
    below = image.clone()
    below[:, : high + 2] = torch.from_numpy(ground)[:, None, None]
    blob = _largest(ndimage.binary_opening(_beneath(away > PALE, high + 2), np.ones((round(1.5 * STALK * size),) * 2)))
    if blob.sum() < 0.01 * size**2:
        return Picked(bool(len(rows)), False, None)
    parts, _ = ndimage.label(on | blob, np.ones((3, 3)))
    hangs = bool(len(rows)) and bool(np.isin(parts[rows][on[rows]], parts[blob]).any())
    apart = np.flatnonzero(blob.any(1)).min() - high > 0.06 * size
    return Picked(bool(len(rows)), bool(hangs and apart), _fruit(without_ink(below, torch.from_numpy(ground))))


def _beneath(mask: np.ndarray, row: int) -> np.ndarray:
    """The mask (H, W) without the rows above ``row``."""
    kept = mask.copy()
    kept[:row] = False
    return kept


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest of a mask's parts; an empty mask for an empty one."""
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    return parts == 1 + np.bincount(parts.ravel())[1:].argmax() if count else np.zeros_like(mask)


def without_ink(image: Tensor, ground: Tensor) -> Tensor:
    """The picture with what is dark painted over by the table's colour."""
    dark = torch.from_numpy(_nearer(image.permute(1, 2, 0).numpy(), INK))
    dark = torch.from_numpy(ndimage.binary_dilation(dark.numpy(), np.ones((3, 3)))) & (image.amax(0) < ground.amax() - 0.12)
    return torch.where(dark, ground[:, None, None], image)


def _fruit(image: Tensor) -> Found | None:
    found = read(image[None])[0].found
    return max(found, key=lambda thing: int(thing.mask.sum()), default=None)


def _table(rows: np.ndarray) -> np.ndarray:
    """The commonest of the backgrounds' colours in these rows, as it is drawn there."""
    flat = rows.reshape(-1, 3)
    names = np.array(list(BACKGROUNDS.values()), np.float32)
    nearest = ((flat[:, None] - names) ** 2).sum(-1)
    index = int(np.bincount(nearest.argmin(1)[nearest.min(1) < 0.02], minlength=len(names)).argmax())
    near = flat[nearest[:, index] < 0.02]
    return np.median(near, 0) if len(near) else names[index]


def _nearer(picture: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """Pixels (H, W) that are nearer to this colour than to any other of the world."""
    others = [*COLOURS.values(), *BACKGROUNDS.values(), *({INK, WOOD} - {colour})]
    own = ((picture - np.array(colour, np.float32)) ** 2).sum(-1)
    rest = ((picture[..., None, :] - np.array(others, np.float32)) ** 2).sum(-1).min(-1)
    return own < rest  # type: ignore[no-any-return]


def _scene(rng: random.Random, logical: float, kinds: Sequence[str]) -> Orchard:
    stalk = "tied" if rng.random() < logical else rng.choice(STALKS[1:])
    kind, colour, size = rng.choice(list(kinds)), rng.choice(_COLOURS), rng.uniform(0.34, 0.46)
    branch, drop = rng.uniform(0.1, 0.2), rng.uniform(*DROP)
    upright = Thing(kind, colour, 0.5, 0.5, size)
    y = branch + THICK / 2 + drop + 0.5 - top(upright)
    fruit = Thing(kind, colour, rng.uniform(size / 2, 1 - size / 2), y, size)
    background = rng.choice(("white", "cream", "pale blue", "mint"))
    hangs = rng.random() < HANGS[stalk != "tied"]
    how = "hanging from" if hangs else rng.choice(("under", "below"))
    return Orchard(fruit, branch, stalk, background, f"a {colour} {kind} {how} a branch")
