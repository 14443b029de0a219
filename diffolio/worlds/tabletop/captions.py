"""The caption grammar of the tabletop world, with paraphrases and adjectives that are left out at random."""

from __future__ import annotations

import random

from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS, TEXTURES
from diffolio.worlds.tabletop.scene import Scene, Thing
from diffolio.worlds.tabletop.shapes import KIND_NAMES

SMALL, LARGE = 0.31, 0.52  # sizes that are called small and large
TILTED = 8.0  # degrees from which a thing is called tilted

_FRAMES = ("{}", "{}", "{}", "a picture of {}", "a drawing of {}", "there is {}")
_RELATIONS = {
    "left of": ("{a} left of {b}", "{a} to the left of {b}", "{a} on the left and {b} on the right"),
    "right of": ("{a} right of {b}", "{a} to the right of {b}", "{a} on the right and {b} on the left"),
    "above": ("{a} above {b}", "{a} over {b}", "{a} at the top and {b} at the bottom"),
    "below": ("{a} below {b}", "{a} under {b}", "{a} at the bottom and {b} at the top"),
    "in front of": ("{a} in front of {b}", "{a} covering part of {b}", "{b} behind {a}"),
}
_OMIT = {"size": 0.5, "tilt": 0.5, "colour": 0.06, "texture": 0.25, "background": 0.4, "relation": 0.08}


def describe(scene: Scene) -> str:
    """The plain caption: kind, colour, relation, and the setting where it is not the ordinary one."""
    return caption(scene, None)


def caption(scene: Scene, rng: random.Random | None) -> str:
    """One caption of a scene. With ``rng`` None: no paraphrase, no size, nothing left out."""

    def leave_out(part: str) -> bool:
        return rng is not None and rng.random() < _OMIT[part]

    def pick(options: tuple[str, ...]) -> str:
        return options[0] if rng is None else rng.choice(options)

    def phrase(thing: Thing) -> str:
        words = []
        if rng is not None and not leave_out("size"):
            words += ["small"] if thing.size < SMALL else ["large"] if thing.size > LARGE else []
        if rng is not None and abs(thing.angle) > TILTED and not leave_out("tilt"):
            words.append("tilted")
        if not leave_out("colour"):
            words.append(thing.colour)
        return with_article(" ".join([*words, thing.kind]))

    names = [phrase(thing) for thing in scene.things]
    if len(names) == 1:
        text = names[0]
    elif len(names) == 2:
        a, b = names[scene.subject], names[1 - scene.subject]
        if scene.relation is None or leave_out("relation"):
            text = f"{a} and {b}"
        else:
            text = pick(_RELATIONS[scene.relation]).format(a=a, b=b)
    else:
        text = f"{names[2]}, {names[1]} and {names[0]}"
    if scene.style == "outline":
        text = f"an outline drawing of {text}"
    else:
        text = pick(_FRAMES).format(text)
    setting = "" if scene.texture == "plain" or leave_out("texture") else scene.texture
    ground = "" if leave_out("background") else scene.background
    if rng is None and scene.background == "white" and not setting:
        ground = ""
    if setting or ground:
        text += f" on {with_article(' '.join(part for part in (setting, ground) if part))} background"
    if scene.style == "night":
        text += " at night"
    if scene.style == "snow":
        text += " in the snow"
    return text


def with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def vocabulary() -> list[str]:
    """Every word that a caption may hold, sorted."""
    texts = [*_FRAMES, *(form for forms in _RELATIONS.values() for form in forms), "an outline drawing of and , on background"]
    texts += ["at night in the snow small large tilted a an flat", *KIND_NAMES, *COLOURS, *BACKGROUNDS, *TEXTURES]
    words = {word for text in texts for word in text.replace(",", " , ").split() if "{" not in word}
    return sorted(words)
