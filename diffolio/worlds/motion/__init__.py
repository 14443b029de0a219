"""The motion world: captioned clips of tabletop and solids scenes with tracks, boxes, exact flow and edited twins."""

from diffolio.worlds.motion.clip import Clip
from diffolio.worlds.motion.paths import BENDS, DIRECTIONS, LOOPS, MOTIONS, SCALINGS, TURNS, CameraMove, Motion
from diffolio.worlds.motion.read import MotionReading, Mover, asked, read_motion, shows
from diffolio.worlds.motion.sample import LOOPING, ONE_MOVER, Mixture, sample_scripts
from diffolio.worlds.motion.solids import (
    CAMERA_MOVES,
    WAYS,
    SolidsScript,
    film_solids,
    narrate_solids,
    sample_solids_scripts,
    solids_flow,
)
from diffolio.worlds.motion.tabletop import Script, film, flow_between, narrate, render_clips, vocabulary

__all__ = [
    "BENDS",
    "CAMERA_MOVES",
    "DIRECTIONS",
    "LOOPING",
    "LOOPS",
    "MOTIONS",
    "ONE_MOVER",
    "SCALINGS",
    "TURNS",
    "WAYS",
    "CameraMove",
    "Clip",
    "Mixture",
    "Motion",
    "MotionReading",
    "Mover",
    "Script",
    "SolidsScript",
    "asked",
    "film",
    "film_solids",
    "flow_between",
    "narrate",
    "narrate_solids",
    "read_motion",
    "render_clips",
    "sample_scripts",
    "sample_solids_scripts",
    "shows",
    "solids_flow",
    "vocabulary",
]
