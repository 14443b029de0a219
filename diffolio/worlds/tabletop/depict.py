"""From a caption back to a scene, where the caption says enough for one."""

from __future__ import annotations

import re

from diffolio.errors import BadInput
from diffolio.worlds.tabletop.captions import with_article
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS, TEXTURES
from diffolio.worlds.tabletop.paraphrase import parse
from diffolio.worlds.tabletop.scene import Scene, Thing
from diffolio.worlds.tabletop.shapes import KIND_NAMES

# Centres of the subject and of the object of a relation.
_PLACES = {
    "left of": ((0.28, 0.5), (0.73, 0.5)), "right of": ((0.73, 0.5), (0.28, 0.5)),
    "above": ((0.5, 0.28), (0.5, 0.73)), "below": ((0.5, 0.73), (0.5, 0.28)),
}  # fmt: skip


def depict(caption: str) -> Scene | None:
    """A scene that the caption describes; None if it names no colour, a thing that the tabletop lacks, or more than two things.

    Sizes and tilts follow the words where there are any; everything that is not said is the ordinary.
    """
    try:
        said = parse(caption)
    except BadInput:
        return None
    things = [_thing(name) for name in said.things]
    known = [thing for thing in things if thing is not None]
    if said.foreign or len(known) != len(things) or len(known) > 2 or (said.relation and said.relation[0] not in _PLACES):
        return None
    relation, first, second = said.relation or (None, 0, 1)
    places = {0: (0.5, 0.5)}
    if len(known) == 2:
        a, b = _PLACES[relation or "left of"]
        places = {first: a, second: b}
    size = {1: 0.5, 2: 0.36}[len(known)]
    things = [Thing(k, c, *places[i], size * scale, angle) for i, (k, c, scale, angle) in enumerate(known)]
    texture = next((t for t in TEXTURES if re.search(rf"\b{t}\b", said.ending)), "plain")
    ground = next((b for b in BACKGROUNDS if b in said.ending), "white")
    style = "outline" if said.outline else next((s for s in ("night", "snow") if s in said.ending), "flat")
    return Scene(tuple(things), ground, texture, style, relation, first if relation else 0, caption)


def recolour(caption: str) -> str | None:
    """The caption with its first colour changed to one that it does not name, three places on in the palette; None if it has none."""
    words, names = caption.split(), list(COLOURS)
    place = next((i for i, word in enumerate(words) if word in names), None)
    if place is None:
        return None
    onward = (names[(names.index(words[place]) + step) % len(names)] for step in (3, 4, 5, 6, 7))
    words[place] = next(colour for colour in onward if colour not in words)
    if place and words[place - 1] in ("a", "an"):
        words[place - 1] = with_article(words[place]).split()[0]
    return " ".join(words)


def _thing(name: str) -> tuple[str, str, float, float] | None:
    """(kind, colour, relative size, angle) of "a small tilted red fish"; None without a colour."""
    words = name.split()
    colour = next((w for w in words if w in COLOURS), None)
    kind = next((k for k in sorted(KIND_NAMES, key=len, reverse=True) if name.endswith(k)), None)
    if colour is None or kind is None:
        return None
    return kind, colour, 0.7 if "small" in words else 1.15 if "large" in words else 1.0, 18.0 if "tilted" in words else 0.0
