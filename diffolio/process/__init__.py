"""Schedules, predictions, guidance, inversion and sampling: the mathematics of diffusion, for tensors of any shape."""

from diffolio.process.guidance import combine, combine_two, guide_clean, rescale
from diffolio.process.inversion import Trajectory, ddim_step, ddim_timesteps, invert, reconstruct
from diffolio.process.prediction import Prediction, add_noise, alpha_sigma, kind_of, raw_from
from diffolio.process.sampling import generators, sample

__all__ = [
    "Prediction",
    "Trajectory",
    "add_noise",
    "alpha_sigma",
    "combine",
    "combine_two",
    "ddim_step",
    "ddim_timesteps",
    "generators",
    "guide_clean",
    "invert",
    "kind_of",
    "raw_from",
    "reconstruct",
    "rescale",
    "sample",
]
