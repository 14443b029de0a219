"""The tabletop world: captioned vector scenes of coloured things, with a reader that tells from pixels what is there."""

from diffolio.worlds.tabletop.captions import caption, describe, vocabulary
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS, STYLES, TEXTURES
from diffolio.worlds.tabletop.reader import read
from diffolio.worlds.tabletop.render import Rendering, alpha, render
from diffolio.worlds.tabletop.sample import Mixture, sample_scenes
from diffolio.worlds.tabletop.scene import RELATIONS, Scene, Thing
from diffolio.worlds.tabletop.shapes import KIND_NAMES
from diffolio.worlds.tabletop.verdict import Found, Reading, Verdict, judge

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "KIND_NAMES",
    "RELATIONS",
    "STYLES",
    "TEXTURES",
    "Found",
    "Mixture",
    "Reading",
    "Rendering",
    "Scene",
    "Thing",
    "Verdict",
    "alpha",
    "caption",
    "describe",
    "judge",
    "read",
    "render",
    "sample_scenes",
    "vocabulary",
]
