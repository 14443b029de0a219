"""One forward of the denoiser: its rows, its step, its grids."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from diffolio.seams.sites import grids


class Run:
    """One forward of the denoiser. It keeps no activations, so that it may outlive the forward (checkpointed gradients)."""

    def __init__(
        self, denoiser: nn.Module, scheduler: Any, latents: Tensor, timestep: Any, rows: tuple[str, ...], named: dict[str, Any]
    ) -> None:
        self.denoiser, self.scheduler = denoiser, scheduler
        self.rows = rows
        self.samples = latents.shape[0] // len(rows)
        self.shape = tuple(latents.shape)
        self.call: Any = None
        self._timestep = timestep
        self._image_ids = named.get("img_ids")
        text = named.get("encoder_hidden_states")
        self.text_tokens = text.shape[1] if isinstance(text, Tensor) and text.ndim == 3 else 0

    def resize(self, rows: tuple[str, ...], latents: Tensor) -> None:
        """An editor added rows or changed the latents' size."""
        self.rows, self.shape = rows, tuple(latents.shape)
        self.samples = latents.shape[0] // len(rows)
        self.__dict__.pop("grids", None)

    @cached_property
    def timestep(self) -> float:
        """The timestep of the first entry, as the network gets it."""
        return float(torch.as_tensor(self._timestep).flatten()[0]) if self._timestep is not None else float("nan")

    @cached_property
    def step(self) -> int:
        dtype = self._timestep.dtype if isinstance(self._timestep, Tensor) else torch.float64
        return step_of(self.scheduler, self.timestep, dtype, packed=len(self.shape) == 3)

    @property
    def frames(self) -> int:
        """Frames of a video; the image-to-video UNet has them before the channels, everything else after."""
        if len(self.shape) != 5:
            return 1
        return self.shape[1 if type(self.denoiser).__name__ == "UNetSpatioTemporalConditionModel" else 2]

    @cached_property
    def grids(self) -> dict[int, tuple[int, ...]]:
        """Number of image tokens -> grid."""
        if len(self.shape) >= 4:
            return grids(self.shape[-2:], self.frames, patch_size(self.denoiser))  # type: ignore[arg-type]
        if isinstance(self._image_ids, Tensor):  # packed latents: the grid is only in the position ids (..., frame, y, x)
            h, w = (int(v) + 1 for v in self._image_ids.reshape(-1, self._image_ids.shape[-1])[:, -2:].amax(0))
            return {h * w: (h, w)}
        return {}

    def grid(self, tokens: int, batch: int, path: str) -> tuple[int, ...] | None:
        """The grid of ``tokens`` image tokens in a batch of ``batch``; None where tokens are not cells of the image."""
        if "motion_modules" in path or "temporal" in path or "temp_" in path:
            return None
        entries = len(self.rows) * self.samples
        return self.grids.get(tokens) if batch in (entries, entries * self.frames) else None


def step_of(scheduler: Any, timestep: float, dtype: torch.dtype = torch.float64, packed: bool = False) -> int:
    """The index of ``timestep`` in ``scheduler.timesteps``, -1 if it is none of them.

    Transformers on ``packed`` latents (Flux) are given the timestep divided by 1000, some in half precision. A flow's schedule
    can hold both 1000 and 1, so that the two scales are told apart by the latents, not by the value.
    """
    schedule = getattr(scheduler, "timesteps", None)
    if schedule is None or not math.isfinite(timestep):
        return -1
    times = torch.as_tensor(schedule).detach().double().cpu()
    for value in (timestep * 1000, timestep) if packed else (timestep, timestep * 1000):
        near = (times - value).abs()
        slack = 1.5 * torch.finfo(dtype).eps * abs(value) if dtype in (torch.float16, torch.bfloat16) else 1e-3
        hits = ((near <= slack) & (near == near.min())).nonzero().flatten().tolist()
        if hits:
            current = getattr(scheduler, "step_index", None)
            return current if isinstance(current, int) and current in hits else int(hits[0])
    return -1


def patch_size(denoiser: nn.Module) -> tuple[int, int, int]:
    """(frames, height, width) of a transformer's patch; 1 for a UNet."""
    patch = getattr(getattr(denoiser, "config", None), "patch_size", None) or 1
    if isinstance(patch, int):
        return (getattr(denoiser.config, "patch_size_t", None) or 1, patch, patch)  # type: ignore[union-attr]
    return (1, 1, 1, *patch)[-3:]
