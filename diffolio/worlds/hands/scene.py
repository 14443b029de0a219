"""What a picture of a hand is: side, joint angles, shape, pose towards the camera, skin and ground."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffolio.errors import BadInput, choose
from diffolio.worlds.hands.kinematics import ANGLES

SIDES: tuple[str, ...] = ("left", "right")
# Skins keep red well above blue; grounds and clothes never do: that is what the reader tells a silhouette by.
SKINS: dict[str, tuple[float, float, float]] = {
    "pale": (0.97, 0.82, 0.73), "light": (0.92, 0.72, 0.58), "tan": (0.80, 0.57, 0.41),
    "brown": (0.60, 0.39, 0.26), "dark": (0.42, 0.26, 0.17),
}  # fmt: skip
GROUNDS: dict[str, tuple[float, float, float]] = {
    "white": (0.94, 0.95, 0.96), "grey": (0.62, 0.64, 0.66), "blue": (0.42, 0.58, 0.82), "green": (0.45, 0.66, 0.52),
    "violet": (0.55, 0.48, 0.74), "black": (0.13, 0.14, 0.16),
}  # fmt: skip
FINGER_COLOURS = ((0.95, 0.20, 0.20), (0.95, 0.75, 0.10), (0.20, 0.80, 0.25), (0.15, 0.55, 0.95), (0.75, 0.25, 0.90))
NUMBERS: tuple[str, ...] = ("no", "one", "two", "three", "four", "five")


@dataclass(frozen=True)
class Hand:
    """``angles`` 20 radians and ``shape`` 4 factors as :mod:`kinematics` takes them; ``yaw`` (0: palm seen, pi: back),
    ``pitch``, ``roll`` radians; ``x``, ``y`` the wrist in [0, 1] of the picture and ``size`` the hand's length as a share of its
    shorter side; ``raised``: which fingers are stretched, thumb first."""

    side: str
    angles: tuple[float, ...]
    raised: tuple[bool, ...]
    shape: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.5
    y: float = 0.85
    size: float = 0.7

    def __post_init__(self) -> None:
        choose("side", self.side, SIDES)
        if len(self.angles) != ANGLES or len(self.raised) != 5 or len(self.shape) != 4:
            raise BadInput(f"{len(self.angles)} angles, {len(self.raised)} fingers, {len(self.shape)} of shape: give 20, 5 and 4")
        if not (self.size > 0 and min(self.shape) > 0):
            raise BadInput(f"a hand of size {self.size} and shape {self.shape}: all must be positive")

    @property
    def count(self) -> int:
        """Fingers raised, the thumb included."""
        return sum(self.raised)


@dataclass(frozen=True)
class Scene:
    """One hand before a ground that darkens by ``shading`` towards one side."""

    hand: Hand
    skin: str = "light"
    ground: str = "grey"
    shading: float = 0.1
    caption: str = ""

    def __post_init__(self) -> None:
        choose("skin", self.skin, tuple(SKINS))
        choose("ground", self.ground, tuple(GROUNDS))

    def change(self, **what: object) -> Scene:
        """The same scene with some fields changed, the caption rewritten: a counterfactual twin."""
        from diffolio.worlds.hands.captions import describe

        changed = replace(self, **what)  # type: ignore[arg-type]
        return replace(changed, caption=describe(changed))
