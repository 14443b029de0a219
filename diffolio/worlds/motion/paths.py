"""How one thing moves in a clip: its pose as a function of time, and the words for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffolio.errors import BadInput, choose

# Unit steps on the screen, x to the right and y down.
DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1),
    "up and left": (-1, -1), "up and right": (1, -1), "down and left": (-1, 1), "down and right": (1, 1),
}  # fmt: skip
SCALINGS: tuple[str, ...] = ("growing", "shrinking")
TURNS: tuple[str, ...] = ("turning clockwise", "turning counter-clockwise")
LOOPS: tuple[str, ...] = ("circling", "swinging", "bouncing", "pulsing", "spinning")
MOTIONS: tuple[str, ...] = ("still", *DIRECTIONS, *SCALINGS, *TURNS, *LOOPS)
BENDS: tuple[str, ...] = ("straight", "arc", "zigzag")


@dataclass(frozen=True)
class Offset:
    """A change of pose: ``x``, ``y`` in units of the picture's shorter side, a factor of size, degrees clockwise."""

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    turn: float = 0.0


@dataclass(frozen=True)
class Motion:
    """What one thing does in a clip.

    ``amount``: the whole way for the eight directions and half of the extent for "circling", "swinging" (sideways) and
    "bouncing" (upwards), in units of the picture's shorter side; the ratio of the last size to the first (above 1) for
    growing, shrinking and pulsing; degrees for the turns; whole turns for "spinning". ``path`` bends the way: an arc, or a
    zigzag of three corners, by ``bend`` of its length, with the same ends. Directions start and end at the pose that the scene
    gives plus or minus half of the way; loops start there and come back. ``phase`` in [0, 1) starts a loop later.
    """

    what: str = "still"
    amount: float = 0.0
    path: str = "straight"
    bend: float = 0.25
    phase: float = 0.0

    def __post_init__(self) -> None:
        choose("motion", self.what, MOTIONS)
        choose("path", self.path, BENDS)
        if self.what in ("growing", "shrinking", "pulsing") and not 1 <= self.amount <= 8:
            raise BadInput(f"{self.what} by a factor of {self.amount}: give a ratio of sizes in [1, 8]")
        if not math.isfinite(self.amount) or self.amount < 0:
            raise BadInput(
                f"{self.what} by {self.amount}: give a number that is not negative; the motion's name has its direction"
            )

    @property
    def loops(self) -> bool:
        """Whether the pose after the clip is that of its first frame."""
        return self.what in LOOPS or self.what == "still"

    @property
    def words(self) -> str:
        """The motion as captions name it."""
        if self.what in DIRECTIONS:
            bent = {"straight": "", "arc": " in an arc", "zigzag": " in a zigzag"}[self.path]
            return f"moving {self.what}{bent}"
        return self.what

    def at(self, time: float) -> Offset:
        """The pose at ``time`` in [0, 1] relative to the scene's."""
        if self.what in DIRECTIONS:
            return self._along(time)
        if self.what in SCALINGS:
            share = time - 0.5 if self.what == "growing" else 0.5 - time
            return Offset(scale=self.amount**share)
        if self.what in TURNS:
            return Offset(turn=(1 if self.what == TURNS[0] else -1) * self.amount * time)
        wave = 2 * math.pi * (time + self.phase)
        if self.what == "circling":
            return Offset(self.amount * math.cos(wave), self.amount * math.sin(wave))
        if self.what == "swinging":
            return Offset(x=self.amount * math.sin(wave))
        if self.what == "bouncing":
            return Offset(y=self.amount * (1 - 2 * abs(math.sin(wave / 2))))
        if self.what == "pulsing":
            return Offset(scale=self.amount ** (0.5 * math.sin(wave)))
        if self.what == "spinning":
            return Offset(turn=360 * max(1, round(self.amount)) * (time + self.phase))
        return Offset()

    def _along(self, time: float) -> Offset:
        dx, dy = DIRECTIONS[self.what]
        length = math.hypot(dx, dy)
        dx, dy = dx / length, dy / length
        along = (time - 0.5) * self.amount
        aside = 0.0
        if self.path == "arc":
            aside = self.bend * self.amount * (4 * time * (1 - time) - 0.5)
        elif self.path == "zigzag":
            aside = self.bend * self.amount * (abs((2 * time) % 1 * 2 - 1) - 0.5)
        return Offset(along * dx + aside * dy, along * dy - aside * dx)


@dataclass(frozen=True)
class CameraMove:
    """A move of the picture's frame over the table: ``pan`` in one of the eight directions by ``amount`` of the shorter side,
    and ``zoom``, the ratio of the last magnification to the first."""

    pan: str | None = None
    amount: float = 0.0
    zoom: float = 1.0

    def __post_init__(self) -> None:
        if self.pan is not None:
            choose("direction of the camera", self.pan, tuple(DIRECTIONS))
        if not 0.125 <= self.zoom <= 8:
            raise BadInput(f"a camera zoom of {self.zoom}: give a ratio in [1/8, 8]")

    @property
    def still(self) -> bool:
        return (self.pan is None or self.amount == 0) and self.zoom == 1

    @property
    def words(self) -> str:
        parts = [f"pans {self.pan}"] if self.pan is not None and self.amount else []
        parts += ["zooms in"] if self.zoom > 1 else ["zooms out"] if self.zoom < 1 else []
        return "the camera " + " and ".join(parts) if parts else ""

    def at(self, time: float) -> tuple[float, float, float]:
        """Magnification and shift (x, y) in units of the shorter side: what is at p from the middle is drawn at zoom * p + shift."""
        dx, dy = DIRECTIONS[self.pan] if self.pan is not None else (0, 0)
        length = math.hypot(dx, dy) or 1.0
        move = -(time - 0.5) * self.amount / length  # the table moves against the camera
        return self.zoom ** (time - 0.5), move * dx, move * dy
