"""The hands world: kinematic hands and figures that hold them, with exact keypoints, masks, fingers and depth."""

from diffolio.worlds.hands.bodies import Body, body_skeleton, held_out_bodies, render_bodies, sample_bodies
from diffolio.worlds.hands.captions import caption, describe, describe_body, vocabulary
from diffolio.worlds.hands.kinematics import FINGERS, forward, limits
from diffolio.worlds.hands.reader import Reading, read
from diffolio.worlds.hands.render import PALM, Rendering, render
from diffolio.worlds.hands.sample import HELD_OUT, Mixture, held_out, sample_scenes
from diffolio.worlds.hands.scene import FINGER_COLOURS, GROUNDS, SIDES, SKINS, Hand, Scene
from diffolio.worlds.hands.skeleton import bones, skeleton

__all__ = [
    "FINGERS",
    "FINGER_COLOURS",
    "GROUNDS",
    "HELD_OUT",
    "PALM",
    "SIDES",
    "SKINS",
    "Body",
    "Hand",
    "Mixture",
    "Reading",
    "Rendering",
    "Scene",
    "body_skeleton",
    "bones",
    "caption",
    "describe",
    "describe_body",
    "forward",
    "held_out",
    "held_out_bodies",
    "limits",
    "read",
    "render",
    "render_bodies",
    "sample_bodies",
    "sample_scenes",
    "skeleton",
    "vocabulary",
]
