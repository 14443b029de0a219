"""Two-way guidance on a running pipeline: by a picture (or clip) that stands beside the latents, and by the text.

InstructPix2Pix (Brooks et al., 2023, arXiv:2211.09800, section 3.2.1). Its network reads [noisy latents ; source latents] in
its channels, and one run has three rows: without either condition, with the source, with the source and the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.process.guidance import combine_two

if TYPE_CHECKING:
    from diffolio.seams import Call, Seams

IMAGE = "image"


@contextmanager
def two_way(seams: Seams, source: Tensor, image_scale: float = 1.5, text_scale: float = 7.5) -> Iterator[None]:
    """Every run inside follows :func:`combine_two` of the rows "uncond" (zeros for the source, the null text), "image" (the
    source, the null text) and "cond" (the source, the text); three forwards' worth of batch a step.

    ``source`` (B, C', h, w) or (B, C', T, h, w), scaled as its network was trained, or one for all samples; it is appended to
    the channels of the latents after the scheduler scaled them. The pipeline must guide (rows "uncond" and "cond"); its own
    guidance scale no longer matters. Give ``Model.sample`` its initial ``latents``: pipelines draw as many channels as the network
    reads. It holds the guidance rule: Conflict with another that needs it.
    """
    channels = source.shape[1]

    def add_rows(call: Call) -> Call:
        if not {"uncond", "cond"} <= set(call.rows):
            raise BadInput(
                f"two-way guidance needs the rows uncond and cond, the run has {call.rows}: guide (guidance_scale > 1)"
            )
        beside = _fitted(source, call)
        call = call.change(latents=torch.cat([call.latents, torch.cat([beside] * len(call.rows))], dim=1))
        call = call.add(IMAGE, like="uncond")
        without = call.latents[call.row("uncond")].clone()
        without[:, -channels:] = 0
        return call.replace_row("uncond", latents=without)

    def follow(call: Call, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return call.same(combine_two(outputs["uncond"], outputs[IMAGE], outputs["cond"], image_scale, text_scale))

    with seams.claim("guidance rule", by="two-way guidance"):
        with seams.denoiser(before=add_rows, after=follow, name="two-way guidance"):
            yield


@contextmanager
def beside(seams: Seams, source: Tensor) -> Iterator[None]:
    """The source beside the latents of every row, and nothing else: for training, and for guidance by the text alone."""

    def append(call: Call) -> Call:
        there = torch.cat([_fitted(source, call)] * len(call.rows))
        return call.change(latents=torch.cat([call.latents, there], dim=1))

    with seams.denoiser(before=append, name="source beside the latents"):
        yield


def _fitted(source: Tensor, call: Call) -> Tensor:
    """The source for every sample of the call."""
    source = source.to(call.latents)
    if len(source) == 1:
        source = source.expand(call.samples, *source.shape[1:])
    if source.dim() != call.latents.dim() or (len(source), source.shape[2:]) != (call.samples, call.latents.shape[2:]):
        raise BadInput(
            f"a source of shape {tuple(source.shape)} beside {call.samples} latents of {tuple(call.latents.shape[1:])}: "
            "give one for each (or one for all), of the same size"
        )
    return source
