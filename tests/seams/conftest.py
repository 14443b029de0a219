"""Denoisers of the true architectures at tiny widths, with random weights, each with inputs that fit it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor, nn

from diffolio.seams import Seams
from tests.models.tiny import TINY

torch.set_num_threads(1)
TEXT = {"sd": 32, "sdxl": 64, "pixart": 32, "sd3": 64, "flux": 16}  # widths of the text states
POOLED = {"sd": 0, "sdxl": 32, "pixart": 0, "sd3": 64, "flux": 16}


@dataclass
class Network:
    """A pipeline-like object with its seams, and arguments for its forward."""

    name: str
    denoiser: nn.Module
    pipeline: Any
    seams: Seams

    def inputs(self, height: int = 8, width: int = 8, samples: int = 1, rows: int = 2, step: int = 3) -> dict[str, Any]:
        """``rows`` blocks of the same ``samples`` latents with different text, as a pipeline with guidance gives them."""
        g = torch.Generator().manual_seed(7)
        t = self.pipeline.scheduler.timesteps[step]
        batch = rows * samples
        channels, width_of_text = self.denoiser.config.in_channels, TEXT[self.name]
        latents = torch.randn(samples, channels, height, width, generator=g).repeat(rows, 1, 1, 1)
        text = torch.randn(batch, 6, width_of_text, generator=g)
        pooled = torch.randn(batch, POOLED[self.name], generator=g)
        if self.name == "sd":
            return {"sample": latents, "timestep": t, "encoder_hidden_states": text}
        if self.name == "sdxl":
            added = {"text_embeds": pooled, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]]).repeat(batch, 1)}
            return {"sample": latents, "timestep": t, "encoder_hidden_states": text, "added_cond_kwargs": added}
        t = t.expand(batch)
        if self.name == "pixart":
            mask = torch.ones(batch, 6)
            mask[0, 4:] = 0
            return {
                "hidden_states": latents,
                "encoder_hidden_states": text,
                "timestep": t,
                "encoder_attention_mask": mask,
                "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
            }
        if self.name == "sd3":
            return {"hidden_states": latents, "timestep": t, "encoder_hidden_states": text, "pooled_projections": pooled}
        packed = latents.flatten(2).transpose(1, 2)
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        ids = torch.stack([torch.zeros_like(y), y, x], -1)
        return {
            "hidden_states": packed,
            "timestep": t / 1000,
            "encoder_hidden_states": text,
            "pooled_projections": pooled,
            "img_ids": ids.reshape(-1, 3).float(),
            "txt_ids": torch.zeros(6, 3),
        }

    def __call__(self, inputs: dict[str, Any]) -> Tensor:
        with torch.no_grad():
            return self.denoiser(**inputs).sample

    def untouched(self) -> bool:
        """No hook, no instance attribute, no mode is left."""
        hooks = all(not (m._forward_hooks or m._forward_pre_hooks or "forward" in m.__dict__) for m in self.denoiser.modules())
        modes = torch.overrides._get_current_function_mode_stack()
        return hooks and not modes and "step" not in self.pipeline.scheduler.__dict__


def build(name: str) -> Network:
    """A network of its own, on a copy of the session's tiny pipeline."""
    if name == "flux":
        torch.manual_seed(0)
        pipeline = SimpleNamespace(transformer=flux(), scheduler=FlowMatchEulerDiscreteScheduler())
    else:
        given = TINY[name]()
        place = "unet" if hasattr(given, "unet") else "transformer"
        pipeline = SimpleNamespace(scheduler=copy.deepcopy(given.scheduler), **{place: copy.deepcopy(getattr(given, place))})
        if name != "pixart":  # whose pipeline keeps no trace of guidance
            pipeline.do_classifier_free_guidance, pipeline._guidance_scale = True, 5.0
    pipeline.scheduler.set_timesteps(8)
    seams = Seams(pipeline)
    return Network(name, seams.state.denoiser.eval(), pipeline, seams)


def flux() -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip


@functools.cache
def shared(name: str) -> Network:
    return build(name)


Networks = Callable[[str], Network]


@pytest.fixture
def network() -> Networks:
    return shared


@pytest.fixture(params=list(TEXT))
def each(request: pytest.FixtureRequest) -> Network:
    return shared(request.param)


@pytest.fixture
def sd() -> Network:
    return shared("sd")
