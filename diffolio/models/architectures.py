"""The pipelines that a Model can hold; what is asked of each is said in ``architecture``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, Unsupported
from diffolio.models.architecture import Architecture, guided_rows, named, sequence_length
from diffolio.models.condition import Arguments, Condition
from diffolio.models.latte import Latte
from diffolio.models.text import Reader
from diffolio.models.text_to_video import TextToVideo
from diffolio.models.tokens import Masked, NextScale
from diffolio.models.vae import Codec, Pixels
from diffolio.process.sampling import noise, sample


class StableDiffusion(Architecture):
    """Stable Diffusion 1.x and 2.x: a UNet with one CLIP."""

    name, family, denoiser = "sd", "unet", "unet"
    pipelines = ("StableDiffusionPipeline", "LatentConsistencyModelPipeline")

    def rows(self, pipeline: Any, prompts: list[str], negative: list[str] | None, guided: bool) -> dict[str, Arguments]:
        cond, uncond = pipeline.encode_prompt(prompts, pipeline._execution_device, 1, guided, negative)
        return guided_rows({"encoder_hidden_states": cond}, {"encoder_hidden_states": uncond}, guided)

    def call(self, condition: Condition, guided: bool) -> dict[str, Any]:
        return named(condition, guided, {"prompt_embeds": "encoder_hidden_states"})


class StableDiffusionXL(Architecture):
    """Stable Diffusion XL: two CLIPs, the second's pooled output, and sizes as numbers."""

    name, family, denoiser = "sdxl", "unet", "unet"
    pipelines = ("StableDiffusionXLPipeline",)

    def readers(self, pipeline: Any) -> list[Reader]:
        both = [pipeline.tokenizer, pipeline.tokenizer_2]
        return [Reader(t, t.model_max_length, name="CLIP text encoder") for t in both if t is not None]

    def rows(self, pipeline: Any, prompts: list[str], negative: list[str] | None, guided: bool) -> dict[str, Arguments]:
        cond, uncond, pooled, uncond_pooled = pipeline.encode_prompt(
            prompts, device=pipeline._execution_device, do_classifier_free_guidance=guided, negative_prompt=negative
        )
        return guided_rows(_with_pooled(cond, pooled), _with_pooled(uncond, uncond_pooled), guided)

    def sized(self, pipeline: Any, row: Arguments, height: int, width: int) -> Arguments:
        added, states = row["added_cond_kwargs"], row["encoder_hidden_states"]
        projection = pipeline.text_encoder_2.config.projection_dim if pipeline.text_encoder_2 else added["text_embeds"].shape[-1]
        ids = pipeline._get_add_time_ids(
            (height, width), (0, 0), (height, width), dtype=states.dtype, text_encoder_projection_dim=projection
        ).to(states.device)
        return {**row, "added_cond_kwargs": {**added, "time_ids": ids.repeat(len(states), 1)}}

    def call(self, condition: Condition, guided: bool) -> dict[str, Any]:
        arguments = named(condition, guided, {"prompt_embeds": "encoder_hidden_states"})
        arguments["pooled_prompt_embeds"] = condition["cond"]["added_cond_kwargs"]["text_embeds"]
        if guided:
            arguments["negative_pooled_prompt_embeds"] = condition["uncond"]["added_cond_kwargs"]["text_embeds"]
        if condition.size is not None:
            arguments["original_size"] = arguments["target_size"] = condition.size
        return arguments


class PixArt(Architecture):
    """PixArt-alpha and PixArt-sigma: a transformer with one T5 and its mask; half of the output channels are a variance."""

    name, family, denoiser = "pixart", "transformer", "transformer"
    pipelines = ("PixArtAlphaPipeline", "PixArtSigmaPipeline")

    def readers(self, pipeline: Any) -> list[Reader]:
        return [Reader(pipeline.tokenizer, sequence_length(pipeline), lower=True, name="T5 text encoder")]

    def rows(self, pipeline: Any, prompts: list[str], negative: list[str] | None, guided: bool) -> dict[str, Arguments]:
        cond, mask, uncond, uncond_mask = pipeline.encode_prompt(
            prompts, do_classifier_free_guidance=guided, negative_prompt="" if negative is None else negative,
            device=pipeline._execution_device,
        )  # fmt: skip
        return guided_rows(_with_mask(cond, mask), _with_mask(uncond, uncond_mask), guided)

    def sized(self, pipeline: Any, row: Arguments, height: int, width: int) -> Arguments:
        if not pipeline.transformer.use_additional_conditions:
            return row
        states = row["encoder_hidden_states"]
        resolution = torch.tensor([[height, width]]).repeat(len(states), 1).to(states)
        ratio = torch.tensor([[float(height / width)]]).repeat(len(states), 1).to(states)
        return {**row, "added_cond_kwargs": {"resolution": resolution, "aspect_ratio": ratio}}

    def call(self, condition: Condition, guided: bool) -> dict[str, Any]:
        given = named(
            condition, guided, {"prompt_embeds": "encoder_hidden_states", "prompt_attention_mask": "encoder_attention_mask"}
        )
        # The default for negative_prompt is "", which the pipeline does not take beside embeddings.
        return {**given, "negative_prompt": None, "use_resolution_binning": False, "clean_caption": False}

    def multiple(self, pipeline: Any) -> int:
        return math.lcm(8, pipeline.vae_scale_factor * pipeline.transformer.config.patch_size)

    def progress(self, tell: Any, steps: int) -> dict[str, Any]:
        return {"callback": lambda step, timestep, latents: tell(step + 1, steps), "callback_steps": 1}


class StableDiffusion3(Architecture):
    """Stable Diffusion 3 and 3.5: joint attention over pictures and text, two CLIPs then a T5, flow matching."""

    name, family, denoiser = "sd3", "transformer", "transformer"
    pipelines = ("StableDiffusion3Pipeline",)

    def readers(self, pipeline: Any) -> list[Reader]:
        clip_length = pipeline.tokenizer_max_length
        found = [
            Reader(t, clip_length, name="CLIP text encoder") for t in (pipeline.tokenizer, pipeline.tokenizer_2) if t is not None
        ]
        if pipeline.tokenizer_3 is not None and pipeline.text_encoder_3 is not None:
            found.append(Reader(pipeline.tokenizer_3, sequence_length(pipeline), start=clip_length, name="T5 text encoder"))
        return found

    def rows(self, pipeline: Any, prompts: list[str], negative: list[str] | None, guided: bool) -> dict[str, Arguments]:
        cond, uncond, pooled, uncond_pooled = pipeline.encode_prompt(
            prompts, None, None, device=pipeline._execution_device, do_classifier_free_guidance=guided, negative_prompt=negative
        )
        cond_row = {"encoder_hidden_states": cond, "pooled_projections": pooled}
        return guided_rows(cond_row, {"encoder_hidden_states": uncond, "pooled_projections": uncond_pooled}, guided)

    def call(self, condition: Condition, guided: bool) -> dict[str, Any]:
        return named(condition, guided, {"prompt_embeds": "encoder_hidden_states", "pooled_prompt_embeds": "pooled_projections"})

    def multiple(self, pipeline: Any) -> int:
        return int(pipeline.vae_scale_factor * pipeline.patch_size)

    def largest(self, pipeline: Any) -> int | None:
        return int(pipeline.transformer.config.pos_embed_max_size * pipeline.patch_size * pipeline.vae_scale_factor)


class UnconditionalPixels(Architecture):
    """A UNet on pixels without text (DDPM, DDIM): its prompts are empty, one a picture.

    It is a kind of its own: what works on "unet" may count on text and a latent space.
    """

    name, family, denoiser = "pixels", "pixels", "unet"
    pipelines = ("DDPMPipeline", "DDIMPipeline")

    def readers(self, pipeline: Any) -> list[Reader]:
        return []

    def rows(self, pipeline: Any, prompts: list[str], negative: list[str] | None, guided: bool) -> dict[str, Arguments]:
        if any(prompts) or any(negative or []):
            raise BadInput("this model reads no text: give an empty prompt for each picture")
        return guided_rows({}, {}, guided)

    def call(self, condition: Condition, guided: bool) -> dict[str, Any]:
        return {}

    def multiple(self, pipeline: Any) -> int:
        return int(2 ** (len(pipeline.unet.config.block_out_channels) - 1))

    def codec(self, pipeline: Any) -> Codec:
        return Pixels(pipeline.unet.config.in_channels)

    def run(self, pipeline: Any, *, tell: Any, arguments: dict[str, Any], **options: Any) -> Tensor:
        """These pipelines take no initial noise and give no tensor back, so that the loop is ours."""
        unet, steps, latents = pipeline.unet, options["num_inference_steps"], options["latents"]
        if latents is None:
            shape = (len(options["generator"]), unet.config.in_channels, options["height"], options["width"])
            latents = noise(shape, options["generator"], device=unet.device, dtype=unet.dtype)

        def after(step: int, t: Tensor, x: Tensor) -> None:
            if tell is not None:
                tell(step + 1, steps)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return unet(x, t, return_dict=False)[0]

        return sample(denoise, latents, pipeline.scheduler, steps, options["generator"], after=after)


ARCHITECTURES: tuple[Architecture, ...] = (
    StableDiffusion(), StableDiffusionXL(), PixArt(), StableDiffusion3(), UnconditionalPixels(), Latte(), TextToVideo(),
    Masked(), NextScale(),
)  # fmt: skip


def supported() -> list[str]:
    """The names of the pipeline classes that a Model can hold."""
    return [name for architecture in ARCHITECTURES for name in architecture.pipelines]


def architecture_of(class_names: Sequence[str]) -> Architecture:
    """The architecture that serves the first known of these class names; Unsupported if none is known."""
    for name in class_names:
        for architecture in ARCHITECTURES:
            if name in architecture.pipelines:
                return architecture
    raise Unsupported(f"{class_names[0]} is not supported; supported are {', '.join(supported())}")


def check_size(architecture: Architecture, pipeline: Any, height: int, width: int) -> None:
    """BadInput unless the pipeline can make pictures of this size."""
    multiple, largest = architecture.multiple(pipeline), architecture.largest(pipeline)
    for side in (height, width):
        if side < multiple or side % multiple:
            below = max(multiple, side // multiple * multiple)
            raise BadInput(
                f"size {width}x{height}: both sides must be multiples of {multiple}; {below} or {below + multiple} would do"
            )
        if largest is not None and side > largest:
            raise BadInput(f"size {width}x{height}: the longest side that this model has positions for is {largest}")


def _with_pooled(states: Tensor, pooled: Tensor) -> Arguments:
    return {"encoder_hidden_states": states, "added_cond_kwargs": {"text_embeds": pooled}}


def _with_mask(states: Tensor, mask: Tensor) -> Arguments:
    unsized = {"resolution": None, "aspect_ratio": None}
    return {"encoder_hidden_states": states, "encoder_attention_mask": mask, "added_cond_kwargs": unsized}
