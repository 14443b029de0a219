"""What a Model asks of a pipeline, whatever it is: text as arguments of the denoiser, the pipeline's call, sizes, frames.

Each architecture is one small class without state. A row is the denoiser's keyword arguments for one part of the guidance batch.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

from torch import Tensor

from diffolio.errors import Unsupported
from diffolio.models.condition import Arguments, Condition
from diffolio.models.text import Reader
from diffolio.models.vae import Autoencoder, Codec


class Architecture:
    """Common to all; ``pipelines`` are the diffusers classes it serves."""

    name: str
    pipelines: tuple[str, ...]
    denoiser: str
    family: str
    any_length = False  # whether clips of any number of frames can be made
    denoises = True  # whether the network predicts noise or what is equal to it; models of tokens do not

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset({self.family, self.name})

    def readers(self, pipeline: Any) -> list[Reader]:
        """The tokenizers, each with its limit and its place in the text sequence."""
        tokenizer = pipeline.tokenizer
        return [Reader(tokenizer, tokenizer.model_max_length, name="CLIP text encoder")]

    def rows(self, pipeline: Any, prompts: list[str], negative: list[str] | None, guided: bool) -> dict[str, Arguments]:
        """The rows that the pipeline itself would make; ``negative`` None is the pipeline's own null."""
        raise NotImplementedError

    def sized(self, pipeline: Any, row: Arguments, height: int, width: int) -> Arguments:
        """The row for pictures of this size in pixels, where the denoiser is told the size."""
        return row

    def call(self, condition: Condition, guided: bool) -> dict[str, Any]:
        """The condition as arguments of the pipeline's call."""
        raise NotImplementedError

    def multiple(self, pipeline: Any) -> int:
        """Height and width in pixels must be multiples of this."""
        return math.lcm(8, pipeline.vae_scale_factor)

    def largest(self, pipeline: Any) -> int | None:
        """The longest side in pixels, where the architecture has a limit."""
        return None

    def frames(self, pipeline: Any) -> int | None:
        """How many frames a clip has unless told otherwise; None for pictures."""
        return None

    def check_denoises(self, name: str) -> None:
        """Unsupported for a model of tokens."""
        if not self.denoises:
            raise Unsupported(f"{name} draws tokens from logits: it has no noise, no velocity and no timesteps to predict at")

    def reads(self, pipeline: Any) -> int:
        """Channels of what the denoiser takes."""
        return int(getattr(pipeline, self.denoiser).config.in_channels)

    def size(self, pipeline: Any) -> int:
        """Pixels a side, of the pictures that it makes unless told otherwise."""
        cells = getattr(pipeline, self.denoiser).config.sample_size
        return int(cells if isinstance(cells, int) else cells[0]) * self.codec(pipeline).factor

    def codec(self, pipeline: Any) -> Codec:
        """What stands between pictures and what the denoiser sees."""
        return Autoencoder(pipeline.vae, pipeline.vae_scale_factor)

    def run(self, pipeline: Any, *, tell: Any, arguments: dict[str, Any], **options: Any) -> Tensor:
        """Sample through the pipeline's own call: latents (B, C, h, w). ``tell(done, steps)`` is called after every step."""
        if tell is not None:
            arguments = arguments | self.progress(tell, options["num_inference_steps"])
        return pipeline(**arguments, **options, output_type="latent").images

    def progress(self, tell: Any, steps: int) -> dict[str, Any]:
        """Arguments that make the pipeline call ``tell(done, steps)`` after every step."""

        def on_step_end(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            tell(step + 1, steps)
            return values

        return {"callback_on_step_end": on_step_end}


def guided_rows(cond: Arguments, uncond: Arguments, guided: bool) -> dict[str, Arguments]:
    return {"uncond": uncond, "cond": cond} if guided else {"cond": cond}


def named(condition: Condition, guided: bool, names: dict[str, str]) -> dict[str, Any]:
    """Pipeline arguments from row arguments, with the same for the negative row when guided."""
    arguments = {theirs: condition["cond"][ours] for theirs, ours in names.items()}
    if guided:
        arguments |= {f"negative_{theirs}": condition["uncond"][ours] for theirs, ours in names.items()}
    return arguments


def sequence_length(pipeline: Any) -> int:
    """How many T5 tokens the pipeline reads unless told otherwise."""
    return int(inspect.signature(type(pipeline).__call__).parameters["max_sequence_length"].default)
