"""Inversion of a flow: from clean latents up its ordinary differential equation to noise, and down again with another condition.

A flow model (Liu et al., 2023, arXiv:2209.03003; Lipman et al., 2023) gives the velocity v = noise - clean of
x_s = (1 - s) clean + s noise, so that dx/ds = v(x, s). Euler's steps between the levels s_0 = 0 < ... < s_n = 1:

    up    x_{i+1} = x_i + (s_{i+1} - s_i) v(x_i, s_{i+1})        down    x_i = x_{i+1} - (s_{i+1} - s_i) v(x_{i+1}, s_{i+1})

As in DDIM inversion (``process.inversion``), upwards the network reads the old latents at the new level, so that both ways ask it
at the same levels. Levels are even: 1/n, ..., 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, Unsupported
from diffolio.process.inversion import Predicts
from diffolio.process.prediction import is_flow


@torch.no_grad()
def invert_flow(model: Predicts, latents: Tensor, condition: Any, steps: int, guidance_scale: float | None = None) -> Tensor:
    """The noise (B, C, ...) from which the flow would make clean ``latents``, in ``steps`` steps up."""
    x = latents
    for level in _levels(model, steps):
        x = x + model.predict(x, level, condition, guidance_scale).raw / steps
    return x


@torch.no_grad()
def follow_flow(model: Predicts, start: Tensor, condition: Any, steps: int, guidance_scale: float | None = None) -> Tensor:
    """Clean latents from noise, in ``steps`` steps down; the way back of :func:`invert_flow`."""
    x = start
    for level in reversed(_levels(model, steps)):
        x = x - model.predict(x, level, condition, guidance_scale).raw / steps
    return x


def _levels(model: Predicts, steps: int) -> list[float]:
    """The timesteps asked for, ascending."""
    if steps < 1:
        raise BadInput(f"{steps} steps: give at least one")
    if not is_flow(model.scheduler):
        raise Unsupported(f"{type(model.scheduler).__name__} is not of a flow: invert diffusion with process.inversion")
    count = model.scheduler.config.num_train_timesteps
    return [count * (i + 1) / steps for i in range(steps)]
