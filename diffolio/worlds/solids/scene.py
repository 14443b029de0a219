"""What a scene of solids is: bodies on a ground plane, in a room or in the void, and its lights. World axes as in geometry.cameras."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from diffolio.errors import BadInput, choose
from diffolio.worlds.solids.shapes import KIND_NAMES, lowest
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS

SETTINGS: tuple[str, ...] = ("ground", "void", "room")
TEXTURES: tuple[str, ...] = ("plain", "striped", "checked", "dotted")
GROUND_TEXTURES: tuple[str, ...] = ("plain", "striped", "checked")
ROOM_HALF, ROOM_HEIGHT = 3.0, 3.2  # a room reaches from -half to half in x and z, and from 0 to its height in y
MOST_SOLIDS, MOST_LIGHTS = 8, 3


@dataclass(frozen=True)
class Solid:
    """One body. ``x``, ``y``, ``z`` its centre in world units, ``y`` None: it stands on the ground; ``size`` scales the unit
    body of its kind (half its width, about); ``yaw`` turns its front (+z) towards +x and ``tilt`` leans it forward before
    that, both in degrees; ``gloss`` in [0, 1] the strength of its highlight."""

    kind: str
    colour: str
    x: float = 0.0
    z: float = 0.0
    y: float | None = None
    size: float = 0.5
    yaw: float = 0.0
    tilt: float = 0.0
    texture: str = "plain"
    gloss: float = 0.0

    def __post_init__(self) -> None:
        choose("kind of solid", self.kind, KIND_NAMES)
        choose("colour", self.colour, tuple(COLOURS))
        choose("texture", self.texture, TEXTURES)
        if not 0 < self.size <= 10:
            raise BadInput(f"size {self.size} of a {self.kind}: give world units in (0, 10]")
        if not 0 <= self.gloss <= 1:
            raise BadInput(f"gloss {self.gloss} of a {self.kind}: give a strength in [0, 1]")

    @property
    def rotation(self) -> list[list[float]]:
        """The 3 x 3 matrix that takes the body's frame to the world's axes."""
        c, s = math.cos(math.radians(self.yaw)), math.sin(math.radians(self.yaw))
        a, b = math.cos(math.radians(self.tilt)), math.sin(math.radians(self.tilt))
        return [[c, s * b, s * a], [0.0, a, -b], [-s, c * b, c * a]]

    @property
    def standing(self) -> bool:
        return self.y is None

    @property
    def centre(self) -> tuple[float, float, float]:
        y = lowest(self.kind, self.rotation) * self.size if self.y is None else self.y
        return (self.x, y, self.z)


@dataclass(frozen=True)
class Light:
    """A lamp ``distance`` from the world's origin in a direction (azimuth 0 is +z and grows towards +x; degrees). Infinitely
    far it is a sun; its light does not weaken with distance. ``strength`` is what it adds to a surface that faces it."""

    azimuth: float = 40.0
    elevation: float = 50.0
    distance: float = math.inf
    strength: float = 0.65

    def __post_init__(self) -> None:
        if not 0 < self.elevation <= 90:
            raise BadInput(f"a light at elevation {self.elevation} degrees: lights stand above the horizon, in (0, 90]")
        if self.strength < 0 or self.distance <= 0:
            raise BadInput(
                f"a light of strength {self.strength} at distance {self.distance}: neither may be negative or zero far"
            )

    @property
    def direction(self) -> tuple[float, float, float]:
        """Unit vector from the origin to the light."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        return (math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e))


@dataclass(frozen=True)
class Scene:
    """Bodies in a setting: "ground" (an endless floor under a sky), "room" (floor, ceiling and four walls; seen from outside
    the walls before it are left away) or "void" (nothing but one background colour).

    ``background`` colours the floor or the void, ``walls`` the room. ``relation`` says how ``solids[0]`` stands to
    ``solids[1]`` for who looks from the front (azimuth 0), or None.
    """

    solids: tuple[Solid, ...]
    setting: str = "ground"
    background: str = "grey"
    texture: str = "plain"
    walls: str = "cream"
    lights: tuple[Light, ...] = (Light(),)
    ambient: float = 0.35
    relation: str | None = None
    caption: str = ""

    def __post_init__(self) -> None:
        choose("setting", self.setting, SETTINGS)
        choose("background", self.background, tuple(BACKGROUNDS))
        choose("colour of walls", self.walls, tuple(BACKGROUNDS))
        choose("texture of the ground", self.texture, GROUND_TEXTURES)
        if len(self.solids) > MOST_SOLIDS:
            raise BadInput(f"a scene of {len(self.solids)} solids: give at most {MOST_SOLIDS}")
        if not 1 <= len(self.lights) <= MOST_LIGHTS:
            raise BadInput(f"a scene of {len(self.lights)} lights: give one to {MOST_LIGHTS}; a dark one has strength 0")
        if not 0 <= self.ambient <= 1:
            raise BadInput(f"ambient light {self.ambient}: give a share in [0, 1]")

    def change(self, index: int | None = None, **what: object) -> Scene:
        """The same scene with one solid changed (``index`` given) or with its setting or lights changed; the caption is
        rewritten, everything else stays: a counterfactual twin."""
        from diffolio.worlds.solids.captions import describe

        if index is None:
            changed = replace(self, **what)  # type: ignore[arg-type]
        else:
            if not 0 <= index < len(self.solids):
                raise BadInput(f"solid {index} of a scene with {len(self.solids)}")
            solids = list(self.solids)
            solids[index] = replace(solids[index], **what)  # type: ignore[arg-type]
            changed = replace(self, solids=tuple(solids))
        return replace(changed, caption=describe(changed))

    def without(self, index: int) -> Scene:
        """The same scene with one solid taken away."""
        if not 0 <= index < len(self.solids):
            raise BadInput(f"solid {index} of a scene with {len(self.solids)}")
        kept = tuple(solid for i, solid in enumerate(self.solids) if i != index)
        return replace(self, relation=None).change(solids=kept)
