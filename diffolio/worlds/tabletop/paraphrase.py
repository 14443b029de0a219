"""Other ways to say a tabletop caption: the grammar's own forms, with words that it does not know kept, thinned or left out."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from diffolio.errors import BadInput
from diffolio.worlds.tabletop.captions import _FRAMES, _RELATIONS, with_article
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS, TEXTURES
from diffolio.worlds.tabletop.shapes import KIND_NAMES


def _any(words: object) -> str:
    return "|".join(sorted(words, key=len, reverse=True))  # type: ignore[call-overload]


_THING = re.compile(
    rf"(?:\b(?:an?|the) )?((?:\b(?:small|large) )?(?:\btilted )?(?:\b(?:{_any(COLOURS)}) )?\b(?:{_any(KIND_NAMES)}))\b"
)
_GROUND = re.compile(rf"\bon an? ((?:(?:{_any(TEXTURES)}) ?)?(?:{_any(BACKGROUNDS)})?) ?background\b")
_STYLES = ("at night", "in the snow")
_OUTLINE = "an outline drawing of"


@dataclass(frozen=True)
class Said:
    """What a caption says. ``relation``: (name, subject, object) with places in ``things``; ``foreign``: other words."""

    things: tuple[str, ...]
    relation: tuple[str, int, int] | None
    ending: str
    outline: bool
    foreign: tuple[str, ...]


def paraphrases(prompt: str, n: int = 25) -> list[str]:
    """At most ``n`` other captions that say the same, nearest first: words that the grammar does not know are first kept, then
    thinned, then left out. Deterministic. A prompt that names no thing of the world is refused.
    """
    if n < 1:
        raise BadInput(f"{n} paraphrases asked for: give at least one")
    said = parse(prompt)
    rng = random.Random(prompt)
    found: dict[str, None] = {}
    for kept in sorted(_subsets(said.foreign), key=len, reverse=True):
        forms = [_place(text, kept, first) for text in _forms(said) for first in ((True, False) if kept else (True,))]
        rng.shuffle(forms)
        found.update(dict.fromkeys(form for form in forms if _plain(form) != _plain(prompt)))
    return _spread(list(found), n)


def parse(prompt: str) -> Said:
    """What the grammar understands of a prompt."""
    text = _plain(prompt)
    names: list[str] = []

    def mark(match: re.Match[str]) -> str:
        names.append(with_article(match[1]))
        return f"#{len(names) - 1}"

    outline = _OUTLINE in text
    text = text.replace(_OUTLINE, "")
    text = _THING.sub(mark, text)
    if not names:
        raise BadInput(f"prompt {prompt!r} names no thing of the tabletop ({', '.join(KIND_NAMES)}): give your own paraphrases")
    endings = [match[0] for match in _GROUND.finditer(text)] + [style for style in _STYLES if style in text]
    for part in endings:
        text = text.replace(part, " ")
    relation = None
    for name, form, a, b in _relation_forms(len(names)):
        if form in text:
            relation, text = (name, a, b), text.replace(form, " ")
            break
    for frame in sorted(set(_FRAMES), key=len, reverse=True):
        text = text.replace(frame.replace("{}", ""), " ") if frame != "{}" else text
    foreign = tuple(w for w in text.split() if w not in ("and", ",", "a", "an", "the") and not w.startswith("#"))
    return Said(tuple(names), relation, " ".join(endings), outline, foreign)


def _relation_forms(things: int) -> list[tuple[str, str, int, int]]:
    if things != 2:
        return []
    forms = [
        (name, form.format(a=f"#{a}", b=f"#{b}"), a, b)
        for name, given in _RELATIONS.items()
        for form in given
        for a, b in ((0, 1), (1, 0))
    ]
    return sorted(forms, key=lambda item: -len(item[1]))


def _forms(said: Said) -> list[str]:
    """Every way in which the grammar says it."""
    if said.relation is not None:
        name, a, b = said.relation
        bodies = [form.format(a=said.things[a], b=said.things[b]) for form in _RELATIONS[name]]
    elif len(said.things) == 2:
        bodies = [f"{said.things[0]} and {said.things[1]}", f"{said.things[1]} and {said.things[0]}"]
    else:
        bodies = [" and ".join(part for part in (", ".join(said.things[:-1]), said.things[-1]) if part)]
    frames = (_OUTLINE + " {}",) if said.outline else tuple(dict.fromkeys(_FRAMES))
    return [" ".join(part for part in (frame.format(body), said.ending) if part) for body in bodies for frame in frames]


def _place(text: str, words: tuple[str, ...], first: bool) -> str:
    extra = " ".join(words)
    if not extra:
        return text
    return f"{extra} , {text}" if first else f"{text} , {extra}"


def _subsets(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All of the words, each alone left out, each half, none: at most 2 + 2 len subsets, in order."""
    halves = [words[: len(words) // 2], words[len(words) // 2 :]] if len(words) > 2 else []
    singles = [words[:i] + words[i + 1 :] for i in range(len(words))]
    return list(dict.fromkeys([words, *singles, *halves, ()]))


def _spread(forms: list[str], n: int) -> list[str]:
    """``n`` of them, evenly over the order, so that a short list still reaches the farthest."""
    if len(forms) <= n:
        return forms
    return [forms[round(i * (len(forms) - 1) / max(n - 1, 1))] for i in range(n)]


def _plain(prompt: str) -> str:
    return " ".join(prompt.lower().replace(",", " , ").split())
