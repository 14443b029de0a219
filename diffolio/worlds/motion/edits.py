"""Edits of tabletop scenes and clips with instructions for them: what an annotator would change, and how a user would ask for it."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace

from diffolio.errors import BadInput, choose
from diffolio.worlds.motion.tabletop import Script
from diffolio.worlds.tabletop.captions import describe, with_article
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS
from diffolio.worlds.tabletop.scene import Scene
from diffolio.worlds.tabletop.shapes import KIND_NAMES

CHANGES: tuple[str, ...] = ("colour", "object", "delete", "background", "style")
PHRASES: dict[str, tuple[str, ...]] = {
    "colour": ("make the {kind} {new}", "paint the {kind} {new}", "turn the {colour} {kind} {new}"),
    "object": ("turn the {kind} into {new}", "make the {kind} {new}", "replace the {colour} {kind} with {new}"),
    "delete": ("remove the {colour} {kind}", "take the {kind} away"),
    "background": ("make the background {new}", "put it on {new} background"),
    "style": ("make it {new}", "let it be {new}"),
}


@dataclass(frozen=True)
class Change:
    """One edit: ``what`` of :data:`CHANGES`, the thing's ``index`` (None: the setting), the ``new`` colour, kind, background or style
    (empty for "delete") and the ``instruction``."""

    what: str
    index: int | None
    new: str
    instruction: str

    def of(self, scene: Scene) -> Scene:
        """The scene after the edit, everything else as it was."""
        if self.what == "delete":
            left = tuple(thing for i, thing in enumerate(scene.things) if i != self.index)
            less = replace(scene, things=left, relation=None, subject=0)
            return replace(less, caption=describe(less))
        return scene.change(self.index, **self._changed())

    def twin(self, script: Script) -> Script:
        """The clip after the edit: its exact twin."""
        if self.what == "delete":
            assert self.index is not None
            return script.without(self.index)
        return script.change(self.index, **self._changed())

    def _changed(self) -> dict[str, str]:
        return {{"object": "kind"}.get(self.what, self.what): self.new}


def draw_change(
    scene: Scene, rng: random.Random, among: tuple[str, ...] = CHANGES, styles: tuple[str, ...] = ("night", "snow")
) -> Change:
    """An edit that this scene allows, one of ``among`` as likely as another, with an instruction in one of several phrasings.

    Only one of two things is deleted, only a flat scene gets another style, and only a plain table another background. BadInput if
    nothing of ``among`` can be done.
    """
    for name in among:
        choose("change", name, CHANGES)
    possible = [
        what for what in among
        if not (what == "delete" and len(scene.things) != 2)
        and not (what == "style" and scene.style != "flat")
        and not (what == "background" and scene.style not in ("flat", "outline"))
    ]  # fmt: skip
    if not possible:
        raise BadInput(f"none of {', '.join(among)} can be done to a {scene.style} scene of {len(scene.things)} things")
    what = rng.choice(possible)
    if what == "style":
        new = rng.choice(styles)
        return Change(what, None, new, rng.choice(PHRASES[what]).format(new=new))
    if what == "background":
        new = rng.choice([name for name in BACKGROUNDS if name != scene.background])
        phrase = rng.choice(PHRASES[what])
        return Change(what, None, new, phrase.format(new=with_article(new) if phrase.endswith("background") else new))
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    new = {
        "colour": lambda: rng.choice([c for c in COLOURS if c not in {t.colour for t in scene.things}]),
        "object": lambda: rng.choice([k for k in KIND_NAMES if k not in {t.kind for t in scene.things}]),
        "delete": lambda: "",
    }[what]()
    said = with_article(new) if what == "object" else new
    same = sum(t.kind == thing.kind for t in scene.things) > 1  # two of one kind are told apart by their colours
    phrases = [p for p in PHRASES[what] if "{colour}" in p or not same] or [PHRASES[what][-1]]
    return Change(what, index, new, rng.choice(phrases).format(kind=thing.kind, colour=thing.colour, new=said))


def understood(instruction: str) -> tuple[str, str, str] | None:
    """What one of :data:`PHRASES` asks for: (what, the thing's kind, what is new), empty where it says nothing of it; else None."""
    words = {"kind": KIND_NAMES, "colour": tuple(COLOURS)}
    new = {
        "colour": tuple(COLOURS),
        "object": KIND_NAMES,
        "delete": (),
        "background": tuple(BACKGROUNDS),
        "style": ("night", "snow"),
    }
    for what, phrases in PHRASES.items():
        for phrase in phrases:
            said = {**words, "new": new[what]}
            pattern = phrase.format(**{name: rf"(?:an? )?(?P<{name}>{'|'.join(options)})" for name, options in said.items()})
            if match := re.fullmatch(pattern, instruction.strip().lower()):
                found = match.groupdict()
                return what, found.get("kind", ""), found.get("new", "")
    return None
