"""Proximal guidance on a running pipeline: weak guidance is left out, and what is not edited is pulled back to its source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.process.proximal import edit_mask, proximal, pull, threshold

if TYPE_CHECKING:
    from diffolio.seams import Call, Seams


@dataclass(frozen=True, eq=False)
class ProximalGuidance:
    """What ``process.proximal`` says, at every step of a run with the rows "uncond" and "cond".

    ``path``: the source's latents (samples, C, h, w) from clean to noise, one more than there are steps, as an inversion
    gives them. ``edited``: bool (samples,), samples that are edits; the others have an empty edit mask. ``kind`` "none" leaves
    guidance as it is and only pulls; ``rate`` 0 does not pull. ``below``: the timestep under which latents are pulled back.
    ``spared``: bool (samples, 1, h, w), cells that are never pulled back.
    """

    path: Sequence[Tensor]
    edited: Tensor
    kind: str = "l0"
    quantile: float = 0.7
    rate: float = 1.0
    below: float = 400.0
    radius: int = 1
    spared: Tensor | None = None

    @contextmanager
    def on(self, seams: Seams, name: str = "proximal guidance") -> Iterator[None]:
        """Act on every run inside the ``with`` block. Without guidance (one row) nothing happens."""
        masks: dict[int, Tensor] = {}

        def guide(call: Call, outputs: dict[str, Tensor]) -> dict[str, Tensor] | None:
            masks.clear()
            if not {"uncond", "cond"} <= set(call.rows):
                return None
            delta = outputs["cond"] - outputs["uncond"]
            if len(delta) != len(self.edited):
                raise BadInput(f"{name}: {len(delta)} samples run, but a path of {len(self.edited)} was given")
            least = threshold(delta, self.quantile)
            mask = edit_mask(delta, least, self.radius)
            mask = mask & self.edited.to(mask.device).reshape(-1, 1, 1, 1)
            masks[call.step] = mask if self.spared is None else mask | self.spared.to(mask.device)
            return {"cond": outputs["uncond"] + proximal(delta, least, self.kind)} if self.kind != "none" else None

        def pull_back(step: int, timestep: Any, previous: Tensor) -> Tensor | None:
            if self.rate == 0 or step not in masks or float(torch.as_tensor(timestep)) >= self.below:
                return None
            steps = len(seams.state.scheduler.timesteps)
            if len(self.path) != steps + 1:
                raise BadInput(f"{name}: a path of {len(self.path) - 1} steps, but {steps} are run: take as many")
            return pull(previous, self.path[steps - 1 - step], masks[step], self.rate)

        with ExitStack() as held:
            held.enter_context(seams.denoiser(after=guide, name=name))
            held.enter_context(seams.scheduler(after=pull_back))
            yield
