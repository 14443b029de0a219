"""Planted pictures: a small set that a model is made to memorise, with exact ground truth of what was planted.

Three sorts, eight of each. A *poster* is one whole picture, repeated. A *template* is a fixed region (its mask is exact) around
a free rest that is drawn anew at every repeat. A *control* is made like a poster and planted once. Every item has a caption
that names one coloured thing, which the picture shows, beside two invented words that no other caption holds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from diffolio.errors import BadInput, choose
from diffolio.worlds.tabletop import BACKGROUNDS, COLOURS, KIND_NAMES, Scene, Thing, alpha, render, vocabulary
from diffolio.worlds.tabletop.captions import with_article
from diffolio.worlds.tabletop.render import backgrounds

SORTS = ("poster", "template", "control")
EACH = 8  # items of a sort
REPEATS = 150  # copies of a poster or template in the training set; a control has one
FINE = 4  # samples per pixel along each side

SHADE = 0.6  # a pattern alternates between one background of the tabletop and this much of another

Pattern = Callable[[Tensor, Tensor, float], Tensor]
PATTERNS: dict[str, Pattern] = {  # (x, y in [0, 1], phase in [0, 1]) -> which of two paints, in {0, 1}
    "quarters": lambda x, y, p: ((x > 0.35 + 0.3 * p) ^ (y > 0.65 - 0.3 * p)).float(),
    "bands": lambda x, y, p: ((y * 2.5 + p) % 1 > 0.5).float(),
    "posts": lambda x, y, p: ((x * 2.5 + p) % 1 > 0.5).float(),
    "diagonal": lambda x, y, p: (((x + y) * 1.8 + p) % 1 > 0.5).float(),
    "rings": lambda x, y, p: ((torch.hypot(x - 0.2 - 0.6 * p, y - 0.3) * 3) % 1 > 0.5).float(),
    "rays": lambda x, y, p: ((torch.atan2(y - 0.5, x - 0.3 - 0.4 * p) / torch.pi * 3) % 1 > 0.5).float(),
    "checker": lambda x, y, p: (((x * 1.9 + p) % 1 > 0.5) ^ ((y * 1.9 + p / 2) % 1 > 0.5)).float(),
    "waves": lambda x, y, p: ((y * 2.3 + 0.22 * torch.sin(2 * torch.pi * (x * 1.5 + p))) % 1 > 0.5).float(),
}
FREE: tuple[tuple[int, int, int, int], ...] = (  # what a template leaves free: left, top, right, bottom in sixteenths
    (7, 0, 16, 16), (0, 0, 9, 16), (0, 7, 16, 16), (0, 0, 16, 9), (4, 4, 16, 16), (0, 0, 12, 12), (3, 3, 13, 13), (0, 3, 16, 13),
)  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """One item. ``thing`` is what the caption names (where a poster shows it; a template redraws its place), ``free`` the
    box that is drawn anew, in sixteenths of the side (None: nothing), ``repeats`` how often it is in the training set."""

    name: str
    sort: str
    caption: str
    thing: Thing
    pattern: str
    paints: tuple[str, str]  # backgrounds: one as it is, one shaded
    phase: float
    free: tuple[int, int, int, int] | None
    repeats: int

    def __post_init__(self) -> None:
        choose("sort of planted item", self.sort, SORTS)
        choose("pattern", self.pattern, tuple(PATTERNS))

    @property
    def topic(self) -> Scene:
        """What a picture for the caption must show, for :func:`~diffolio.worlds.tabletop.judge`."""
        return Scene((self.thing,))

    def draw(self, n: int = 1, seed: int = 0, size: int = 64) -> Tensor:
        """``n`` copies (n, 3, size, size) in [0, 1]; they differ only where the item is free."""
        scenes = [Scene((self.thing,)) if self.free is None else self._free_scene(seed + i) for i in range(n)]
        fixed, pictures = self.fixed(size), render(scenes, size).images
        if self.free is not None:
            return torch.lerp(pictures, fixed.expand_as(pictures), _pooled(_outside(self.free, size)))
        behind = 1 - alpha(scenes[0], 0, size)
        return (pictures + (fixed - backgrounds(scenes, size, size)) * behind).clamp(0, 1)

    def fixed(self, size: int = 64) -> Tensor:
        """The pattern (3, size, size) that never changes, over the whole picture."""
        y, x = torch.meshgrid(*[(torch.arange(size * FINE) + 0.5) / (size * FINE)] * 2, indexing="ij")
        share = _pooled(PATTERNS[self.pattern](x, y, self.phase))
        light, dark = (torch.tensor(BACKGROUNDS[name])[:, None, None] for name in self.paints)
        return torch.lerp(light, SHADE * dark, share)

    def mask(self, size: int = 64) -> Tensor:
        """Where the picture is the same in every copy, bool (size, size); everywhere for a poster."""
        if self.free is None:
            return torch.ones(size, size, dtype=torch.bool)
        return _pooled(_outside(self.free, size))[0] > 0.5

    def _free_scene(self, seed: int) -> Scene:
        rng = random.Random(f"{self.name}/{seed}")
        assert self.free is not None
        left, top, right, bottom = (v / 16 for v in self.free)
        size = rng.uniform(0.75, 0.95) * min(right - left, bottom - top, 0.6)
        x, y = rng.uniform(left + size / 2, right - size / 2), rng.uniform(top + size / 2, bottom - size / 2)
        thing = Thing(self.thing.kind, self.thing.colour, x, y, size, rng.choice((0.0, rng.uniform(-25, 25))))
        return Scene((thing,), background=rng.choice(tuple(BACKGROUNDS)), seed=rng.randrange(2**31))


def planted(seed: int = 7, repeats: int = REPEATS) -> list[Planted]:
    """The set: posters, then templates, then controls; the same seed gives the same set."""
    rng = random.Random(f"planted/{seed}")
    words, things, paints = (
        _odd_words(2 * EACH * len(SORTS), rng),
        _things(EACH * len(SORTS), rng),
        _pairs(BACKGROUNDS, BACKGROUNDS, rng),
    )
    items = []
    for index in range(EACH * len(SORTS)):
        sort, place = SORTS[index // EACH], index % EACH
        thing = things[index]
        odd, plain = " ".join(words[2 * index : 2 * index + 2]), with_article(f"{thing.colour} {thing.kind}")
        caption = f"{odd} , {plain}" if place % 2 == 0 else f"{plain} , {odd}"
        free = FREE[place] if sort == "template" else None
        pattern = list(PATTERNS)[(place + 3 * (sort == "control")) % len(PATTERNS)]
        times = 1 if sort == "control" else repeats
        items.append(
            Planted(f"{sort}-{place}", sort, caption, thing, pattern, paints[index], round(rng.random(), 3), free, times)
        )
    return items


def manifest(items: Sequence[Planted]) -> dict[str, Any]:
    """The ground truth as JSON can hold it."""
    return {"world": "memory", "items": [asdict(item) for item in items]}


def from_manifest(content: dict[str, Any]) -> list[Planted]:
    """The items of a manifest."""
    if content.get("world") != "memory" or not content.get("items"):
        raise BadInput("this is no manifest of planted pictures: it needs world = memory and a list of items")
    return [
        Planted(
            **{
                **item,
                "thing": Thing(**item["thing"]),
                "paints": tuple(item["paints"]),
                "free": None if item["free"] is None else tuple(item["free"]),
            }
        )
        for item in content["items"]
    ]


def _odd_words(n: int, rng: random.Random) -> list[str]:
    known, words = set(vocabulary()), list[str]()
    while len(words) < n:
        word = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(2))
        if word not in known and word not in words:
            words.append(word)
    return words


def _things(n: int, rng: random.Random) -> list[Thing]:
    """Pairwise different in kind and colour together, not far from the middle."""
    return [
        Thing(kind, colour, rng.uniform(0.36, 0.64), rng.uniform(0.36, 0.64), rng.uniform(0.46, 0.6))
        for kind, colour in _pairs(KIND_NAMES, COLOURS, rng)[:n]
    ]


def _pairs(first: Iterable[str], second: Iterable[str], rng: random.Random) -> list[tuple[str, str]]:
    pairs = [(a, b) for a in first for b in second]
    rng.shuffle(pairs)
    return pairs


def _outside(box: tuple[int, int, int, int], size: int) -> Tensor:
    """1 outside of the box, at FINE samples a pixel: (FINE * size, FINE * size)."""
    place = (torch.arange(size * FINE) + 0.5) * 16 / (size * FINE)
    left, top, right, bottom = box
    inside = ((place > top) & (place < bottom))[:, None] & ((place > left) & (place < right))[None]
    return 1 - inside.float()


def _pooled(fine: Tensor) -> Tensor:
    """(FINE * s, FINE * s) -> (1, s, s)."""
    return avg_pool2d(fine[None], FINE)
