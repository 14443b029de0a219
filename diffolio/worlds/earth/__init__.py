"""The earth world: aerial pictures with exact classes, roads, height and clouds, and a reader that tells them from pixels."""

from diffolio.worlds.earth.captions import caption, describe, sky, vocabulary
from diffolio.worlds.earth.conditions import CONDITIONS, conditions, stacked
from diffolio.worlds.earth.palette import CLASSES, SEASONS
from diffolio.worlds.earth.reader import Reading, agreement, iou, read
from diffolio.worlds.earth.render import Rendering, render
from diffolio.worlds.earth.sample import HELD_OUT, Mixture, held_out, sample_scenes
from diffolio.worlds.earth.scene import METADATA, PLACES, Scene, Way
from diffolio.worlds.earth.twins import TWINS, dates, twin, twins

__all__ = [
    "CLASSES",
    "CONDITIONS",
    "HELD_OUT",
    "METADATA",
    "PLACES",
    "SEASONS",
    "TWINS",
    "Mixture",
    "Reading",
    "Rendering",
    "Scene",
    "Way",
    "agreement",
    "caption",
    "conditions",
    "dates",
    "describe",
    "held_out",
    "iou",
    "read",
    "render",
    "sample_scenes",
    "sky",
    "stacked",
    "twin",
    "twins",
    "vocabulary",
]
