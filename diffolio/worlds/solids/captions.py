"""The caption grammar of the solids world."""

from __future__ import annotations

import random

from diffolio.worlds.solids.scene import GROUND_TEXTURES, TEXTURES, Scene, Solid
from diffolio.worlds.solids.shapes import KIND_NAMES
from diffolio.worlds.tabletop.captions import with_article
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS

RELATIONS: tuple[str, ...] = ("left of", "right of", "in front of", "behind", "above")
SMALL, LARGE = 0.36, 0.52  # sizes that are called small and large

_FRAMES = ("{}", "{}", "{}", "a picture of {}", "a view of {}")
_RELATIONS = {
    "left of": ("{a} left of {b}", "{a} to the left of {b}", "{a} on the left and {b} on the right"),
    "right of": ("{a} right of {b}", "{a} to the right of {b}", "{a} on the right and {b} on the left"),
    "in front of": ("{a} in front of {b}", "{b} behind {a}"),
    "behind": ("{a} behind {b}", "{b} in front of {a}"),
    "above": ("{a} above {b}", "{a} over {b}"),
}
_OMIT = {"size": 0.5, "texture": 0.15, "floating": 0.3, "relation": 0.1, "setting": 0.4}


def describe(scene: Scene) -> str:
    """The plain caption of the front view: textures, colours, kinds, relation and setting."""
    return caption(scene, None)


def caption(scene: Scene, rng: random.Random | None) -> str:
    """One caption of a scene as seen from the front. With ``rng`` None: no paraphrase, no size, nothing left out."""

    def leave_out(part: str) -> bool:
        return rng is not None and rng.random() < _OMIT[part]

    def pick(options: tuple[str, ...]) -> str:
        return options[0] if rng is None else rng.choice(options)

    def phrase(solid: Solid) -> str:
        words = []
        if rng is not None and not leave_out("size"):
            words += ["small"] if solid.size < SMALL else ["large"] if solid.size > LARGE else []
        if not solid.standing and scene.setting != "void" and not leave_out("floating"):
            words.append("floating")
        if solid.texture != "plain" and not leave_out("texture"):
            words.append(solid.texture)
        return with_article(" ".join([*words, solid.colour, solid.kind]))

    names = [phrase(solid) for solid in scene.solids]
    if len(names) == 2 and scene.relation is not None and not leave_out("relation"):
        text = pick(_RELATIONS[scene.relation]).format(a=names[0], b=names[1])
    elif names:
        text = ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
    else:
        text = "nothing"
    text = pick(_FRAMES).format(text)
    if leave_out("setting"):
        return text
    ground = with_article(scene.background if scene.texture == "plain" else f"{scene.texture} {scene.background}")
    if scene.setting == "room":
        return f"{text} in a room with {scene.walls} walls and {ground} floor"
    return f"{text} on {ground} {'floor' if scene.setting == 'ground' else 'background'}"


def seen_from(azimuth: float, elevation: float = 20.0) -> str:
    """What a view from there is called: "front view", "right side view", "back view", "left side view" or "view from above"."""
    if elevation > 60:
        return "view from above"
    turned = azimuth % 360
    sides = ("front view", "right side view", "back view", "left side view")
    return sides[int((turned + 45) // 90) % 4]


def vocabulary() -> list[str]:
    """Every word that a caption may hold, sorted."""
    texts = [*_FRAMES, *(form for forms in _RELATIONS.values() for form in forms), *KIND_NAMES, *COLOURS, *BACKGROUNDS]
    texts += [*TEXTURES, *GROUND_TEXTURES, "small large floating a an and , nothing in a room with walls floor on background"]
    texts += ["front right left side back view from above"]
    return sorted({word for text in texts for word in text.replace(",", " , ").split() if "{" not in word})
