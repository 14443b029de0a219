"""The caption grammar of the hands and bodies worlds."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from diffolio.worlds.hands.kinematics import FINGERS
from diffolio.worlds.hands.scene import GROUNDS, NUMBERS, SIDES, Hand, Scene

if TYPE_CHECKING:
    from diffolio.worlds.hands.bodies import Body

CLOTHES: tuple[str, ...] = ("blue", "green", "violet", "grey", "white")
_FRAMES = ("{}", "{}", "a picture of {}", "a photo of {}")


def pose(hand: Hand) -> str:
    """ "an open hand", "a fist", "a hand with two fingers raised", or with the one finger named."""
    if hand.count == 5:
        return "an open {} hand"
    if hand.count == 0:
        return "a {} fist"
    if hand.count == 1:
        return "a {} hand with the " + FINGERS[hand.raised.index(True)] + " raised"
    return "a {} hand with " + NUMBERS[hand.count] + " fingers raised"


def describe(scene: Scene) -> str:
    """The plain caption: side, fingers, which face is seen, ground."""
    return caption(scene, None)


def caption(scene: Scene, rng: random.Random | None) -> str:
    """One caption. With ``rng`` None: no paraphrase and nothing left out."""

    def leave_out(share: float) -> bool:
        return rng is not None and rng.random() < share

    text = pose(scene.hand).format("" if leave_out(0.5) else scene.hand.side).replace("  ", " ")
    text = (_FRAMES[0] if rng is None else rng.choice(_FRAMES)).format(text)
    if math.cos(scene.hand.yaw) < 0 and not leave_out(0.3):
        text += " from the back"
    return text if leave_out(0.3) else f"{text} on a {scene.ground} background"


def describe_body(body: Body, rng: random.Random | None = None) -> str:
    """A caption of a figure; with ``rng`` the ground may be left out."""
    shown = [pose(hand).format(hand.side) for hand in body.hands]
    text = f"a person in {body.shirt} showing {' and '.join(shown)}"
    return text if rng is not None and rng.random() < 0.3 else f"{text} on a {body.ground} background"


def vocabulary() -> list[str]:
    """Every word that a caption may hold, sorted."""
    texts = [*_FRAMES, *FINGERS, *NUMBERS[2:5], *SIDES, *GROUNDS, *CLOTHES]
    texts += ["an open hand a fist with the fingers raised from back on background person in showing and"]
    return sorted({word for text in texts for word in text.split() if "{" not in word})
