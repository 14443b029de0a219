"""Pairs of sentences in which the second follows from the first: "It is night. The sky is dark."

A masked language model that has learned them can be asked to change the first sentence and to make the second follow. The reader
is exact: it parses by the grammar.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from diffolio.errors import BadInput

SENSE = {
    "night": "dark", "day": "bright", "winter": "cold", "summer": "warm", "raining": "grey", "dawn": "pink", "noon": "white",
    "dusk": "red",
}  # fmt: skip
"""What it is, and how things are then."""
THINGS = ("sky", "air", "field", "sea", "road", "garden", "hill", "town")
PLACES = ("", "here", "outside", "in the valley", "by the sea")
VERBS = ("is", "looks", "feels", "seems")
MASK, PAD = "[MASK]", "[PAD]"


@dataclass(frozen=True)
class Pair:
    """When it is, where, and what is how; ``text`` are its words, full stops apart."""

    when: str
    place: str
    thing: str
    verb: str
    sense: str

    @property
    def words(self) -> list[str]:
        return f"it is {self.when} {self.place} . the {self.thing} {self.verb} {self.sense} .".split()


def sample_pairs(n: int, seed: int) -> list[Pair]:
    """``n`` pairs that make sense."""
    if n < 1:
        raise BadInput(f"{n} pairs asked for: give at least one")
    rng = random.Random(seed)
    drawn = []
    for _ in range(n):
        when = rng.choice(tuple(SENSE))
        drawn.append(Pair(when, rng.choice(PLACES), rng.choice(THINGS), rng.choice(VERBS), SENSE[when]))
    return drawn


def vocabulary() -> list[str]:
    """All words, the mask and the padding last."""
    words = {word for place in PLACES for word in place.split()} | {"it", "the", "."} | set(SENSE) | set(SENSE.values())
    return [*sorted(words | set(THINGS) | set(VERBS)), PAD, MASK]


def read(words: list[str]) -> Pair | None:
    """The pair that these words are by the grammar, sensible or not; None for anything else. Padding at the end is left out."""
    text = " ".join(words).removesuffix(f" {PAD}")
    while text.endswith(f" {PAD}"):
        text = text.removesuffix(f" {PAD}")
    parts = text.split(" . ")
    if len(parts) != 2 or not parts[1].endswith(" ."):
        return None
    first, second = parts[0].split(), parts[1].removesuffix(" .").split()
    if first[:2] != ["it", "is"] or len(first) < 3 or first[2] not in SENSE or " ".join(first[3:]) not in PLACES:
        return None
    if len(second) != 4 or second[0] != "the" or second[1] not in THINGS or second[2] not in VERBS:
        return None
    return None if second[3] not in SENSE.values() else Pair(first[2], " ".join(first[3:]), *second[1:])


def sensible(pair: Pair | None) -> bool:
    """Whether the second sentence follows from the first."""
    return pair is not None and SENSE[pair.when] == pair.sense
