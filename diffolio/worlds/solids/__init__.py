"""The solids world: ray-cast bodies with exact depth, normals, light, shadows and masks, from any camera."""

from diffolio.worlds.solids.captions import RELATIONS, caption, describe, seen_from, vocabulary
from diffolio.worlds.solids.render import Rendering, render, standard_camera
from diffolio.worlds.solids.sample import Mixture, sample_rooms, sample_scenes, views
from diffolio.worlds.solids.scene import GROUND_TEXTURES, SETTINGS, TEXTURES, Light, Scene, Solid
from diffolio.worlds.solids.shapes import KIND_NAMES
from diffolio.worlds.solids.trace import CEILING, FLOOR, NOTHING, WALL

__all__ = [
    "CEILING",
    "FLOOR",
    "GROUND_TEXTURES",
    "KIND_NAMES",
    "NOTHING",
    "RELATIONS",
    "SETTINGS",
    "TEXTURES",
    "WALL",
    "Light",
    "Mixture",
    "Rendering",
    "Scene",
    "Solid",
    "caption",
    "describe",
    "render",
    "sample_rooms",
    "sample_scenes",
    "seen_from",
    "standard_camera",
    "views",
    "vocabulary",
]
