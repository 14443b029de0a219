"""What an aerial scene is: a place, the ways and waters that cross it, a date, a resolution and a sky."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from diffolio.errors import BadInput, choose
from diffolio.worlds.earth.palette import SEASONS

PLACES: tuple[str, ...] = ("farmland", "forest", "town", "meadows")
WATERS: tuple[str, ...] = ("none", "river", "lake")
METADATA: tuple[str, ...] = ("longitude", "latitude", "gsd", "cloud_cover", "year", "month", "day")
BASE_SIDE = 64  # pixels a side that ``gsd`` speaks of
GSD = (1.5, 4.0)  # metres a pixel that are sampled; a scene takes more
MOST_GSD = 8.0
YEARS = (1980, 2100)
MOST_ROADS = 4


@dataclass(frozen=True)
class Way:
    """A road or river: the points whose distance from a straight line, bent by a sine, is at most half its ``width``.

    The line has its normal at ``angle`` degrees and passes ``offset`` metres from the tile's middle; the bend has an
    ``amplitude`` in metres, a ``wavelength`` in metres and a ``phase`` in radians.
    """

    angle: float
    offset: float
    width: float
    amplitude: float = 0.0
    wavelength: float = 200.0
    phase: float = 0.0


@dataclass(frozen=True)
class Scene:
    """One tile of ground seen straight from above, north up, and the sky over it.

    ``seed`` fixes everything that is not a field: fields' borders, woods, buildings, clouds. ``gsd``: metres a pixel of a
    picture of 64 pixels a side; the ground shown spans 64 * gsd metres at any picture size. ``cloud_cover`` share of the
    picture in [0, 1]; ``opacity`` of the thickest cloud; ``cloud_seed`` the clouds' forms, over the picture's frame.
    The season follows from ``month`` and the sign of ``latitude``.
    """

    place: str
    seed: int
    roads: tuple[Way, ...] = ()
    river: Way | None = None
    lake: tuple[float, float, float] | None = None  # centre x, y and radius in metres
    gsd: float = 2.5
    cloud_cover: float = 0.0
    opacity: float = 0.95
    cloud_seed: int = 0
    longitude: float = 10.0
    latitude: float = 48.0
    year: int = 2020
    month: int = 6
    day: int = 15
    caption: str = ""

    def __post_init__(self) -> None:
        choose("place", self.place, PLACES)
        if not 0.25 <= self.gsd <= MOST_GSD:
            raise BadInput(f"ground sample distance {self.gsd}: give metres a pixel in [0.25, {MOST_GSD}]")
        if not (0 <= self.cloud_cover <= 1 and 0 < self.opacity <= 1):
            raise BadInput(f"cloud cover {self.cloud_cover}, opacity {self.opacity}: give shares in [0, 1] and (0, 1]")
        if not (-180 <= self.longitude <= 180 and -90 <= self.latitude <= 90):
            raise BadInput(f"position {self.longitude}, {self.latitude}: give degrees within [-180, 180] and [-90, 90]")
        if not (YEARS[0] <= self.year <= YEARS[1] and 1 <= self.month <= 12 and 1 <= self.day <= 31):
            raise BadInput(f"date {self.year}-{self.month}-{self.day}: give a year in {YEARS}, a month and a day")
        if len(self.roads) > MOST_ROADS:
            raise BadInput(f"{len(self.roads)} roads: give at most {MOST_ROADS}")

    @property
    def season(self) -> str:
        """March to May is spring in the north and autumn in the south, and so on."""
        return SEASONS[((self.month - 3) // 3 + (0 if self.latitude >= 0 else 2)) % 4]

    @property
    def water(self) -> str:
        return "river" if self.river else "lake" if self.lake else "none"

    @property
    def sun(self) -> tuple[float, float, float]:
        """Unit vector to the sun at noon or so: (east, south, up); low in winter."""
        height = {"spring": 48.0, "summer": 60.0, "autumn": 40.0, "winter": 28.0}[self.season]
        azimuth = math.radians(30.0 + 20.0 * ((self.seed % 7) / 6 - 0.5))
        flat, up = math.cos(math.radians(height)), math.sin(math.radians(height))
        return (-math.sin(azimuth) * flat, math.cos(azimuth) * flat * (1 if self.latitude >= 0 else -1), up)

    @property
    def metadata(self) -> tuple[float, ...]:
        """The seven numbers that :data:`METADATA` names, each in [0, 1]."""
        return (
            (self.longitude + 180) / 360,
            (self.latitude + 90) / 180,
            self.gsd / MOST_GSD,
            self.cloud_cover,
            (self.year - YEARS[0]) / (YEARS[1] - YEARS[0]),
            self.month / 12,
            self.day / 31,
        )

    def change(self, **what: object) -> Scene:
        """The same scene with some fields changed and its caption rewritten: a counterfactual twin."""
        from diffolio.worlds.earth.captions import describe

        changed = replace(self, **what)  # type: ignore[arg-type]
        return replace(changed, caption=describe(changed))
