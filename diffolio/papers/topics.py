"""Topics: saved queries with what they include and what they exclude.

A topic is a feed, an alert and the subject of an issue. The user's are stored in the library; ``diffusion`` is always there,
and a topic of the user's with that name takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffolio.errors import BadInput, unknown

if TYPE_CHECKING:
    from diffolio.papers.store import Library

LONGEST_NAME = 60


@dataclass(frozen=True)
class Topic:
    """``include`` and ``exclude`` in the language of search; ``shipped`` is False for the user's own."""

    name: str
    include: str
    exclude: str = ""
    shipped: bool = False

    @property
    def query(self) -> str:
        """The one query that finds the papers of this topic."""
        return f"({self.include}) NOT ({self.exclude})" if self.exclude else self.include


def _any(*alternatives: str) -> str:
    return " OR ".join(alternatives)


# What says plainly that a paper has to do with diffusion models. "diffusion*" also finds "diffusionmodels", a pair of words
# whose space a digest lost.
_PLAIN = _any(
    "diffusion*", "diffuser*", "ddpm*", "ddim*", "controlnet*", '"score distillation"', '"score matching"',
    '"score based generative"', '"score based model"', '"flow matching"', '"rectified flow"', '"consistency model"',
    '"consistency distillation"', '"classifier free guidance"',
)  # fmt: skip
# Large models of these kinds are diffusion models today, and their papers do not always say so; but work that only assesses
# pictures or lists data sets names them as well.
_LIKELY = _any('"text to image"', '"text to video"', '"image to video"', "t2i", "t2v")
_ASSESSING = " ".join(f"-title:{word}" for word in ("survey", "metric", "assessment", "benchmark", "dataset"))
# The other diffusion, of heat, particles and water.
_PHYSICAL = _any(
    '"heat diffusion"', '"thermal diffusion"', '"anomalous diffusion"', '"turbulent diffusion"', '"reaction diffusion"',
    '"artificial diffusion"', '"numerical diffusion"', '"molecular diffusion"', '"advection diffusion"', '"convection diffusion"',
    '"cross diffusion"', '"surface diffusion"', '"ambipolar diffusion"', '"diffusion coefficient"', '"diffusion limited"',
    '"information diffusion"', '"diffusion mri"', '"diffusion magnetic"', '"diffusion tensor"', '"diffusion weighted"',
)  # fmt: skip
# Diffusion models are applied to those things too; such a paper stays.
_GENERATIVE = _any(
    '"denoising diffusion"', '"latent diffusion"', '"stable diffusion"', '"diffusion transformer"', '"diffusion based generative"',
    '"diffusion generative"', '"generative diffusion"', '"score based"', "ddpm*",
)  # fmt: skip

DIFFUSION = Topic("diffusion", f"{_PLAIN} OR (({_LIKELY}) {_ASSESSING})", f"({_PHYSICAL}) NOT ({_GENERATIVE})", shipped=True)
SHIPPED = {DIFFUSION.name: DIFFUSION}


def topics(library: Library) -> list[Topic]:
    """Every topic by name, the shipped ones too."""
    own = {
        name: Topic(name, text, options.get("exclude", ""))
        for name, (text, options) in library.queries().items()
        if options.get("kind") == "topic"
    }
    return [topic for _, topic in sorted({**SHIPPED, **own}.items())]


def topic(library: Library, name: str) -> Topic:
    """The topic of this name. Raises UnknownName with the nearest ones."""
    known = {each.name: each for each in topics(library)}
    if name not in known:
        raise unknown("topic", name, known)
    return known[name]


def add_topic(library: Library, name: str, include: str, exclude: str = "") -> Topic:
    """Save a topic; one of the same name is replaced. Raises BadInput for a name or a query that cannot be used."""
    name, include, exclude = name.strip(), include.strip(), exclude.strip()
    if not name or len(name) > LONGEST_NAME or not all(c.isprintable() and c not in "/\\" for c in name) or name.startswith("."):
        raise BadInput(
            f"{name[:80]!r} cannot be the name of a topic: needed are 1 to {LONGEST_NAME} visible characters without slashes, "
            "the first one not a dot (issues and feeds are named after it)"
        )
    if not include:
        raise BadInput(f"the topic {name!r} includes nothing: give a query, for example 'title:diffusion OR \"score matching\"'")
    from diffolio.papers.query import parse

    added = Topic(name, include, exclude)
    for part in (include, exclude):
        parse(part)
        outside = re.sub(r'"[^"]*"', "", part)
        if '"' in outside or outside.count("(") != outside.count(")"):
            raise BadInput(f"an open quote or parenthesis in {part!r}: close it, the two halves of a topic are put together")
    parse(added.query)
    library.set_query(name, include, kind="topic", exclude=exclude)
    return added


def remove_topic(library: Library, name: str) -> None:
    """Forget a topic of the user's; a shipped one that it replaced is back. Raises BadInput for a shipped one."""
    if topic(library, name).shipped:
        raise BadInput(f"the topic {name!r} is part of Diffolio and cannot be removed; add one of that name to replace it")
    library.delete_query(name)


@dataclass(frozen=True)
class Quality:
    """How well a topic finds labelled papers. ``wrong`` were found and should not be, ``missed`` the reverse; ids sorted."""

    found: int
    wrong: tuple[str, ...]
    missed: tuple[str, ...]

    @property
    def precision(self) -> float:
        return 1 - len(self.wrong) / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        right = self.found - len(self.wrong)
        return right / (right + len(self.missed)) if right or self.missed else 0.0


def quality(found: Collection[str], yes: Collection[str], no: Collection[str]) -> Quality:
    """Compare the ids that a topic found with those labelled yes and no; others are not counted."""
    found, yes, no = set(found), set(yes), set(no)
    return Quality(len(found & (yes | no)), tuple(sorted(found & no)), tuple(sorted(yes - found)))
