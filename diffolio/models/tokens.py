"""Models of tokens: a masked transformer over a codebook's grid (aMUSEd), and next-scale prediction of bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, Unsupported
from diffolio.models.architecture import Architecture, guided_rows
from diffolio.models.condition import Arguments, Condition, join
from diffolio.models.vae import Codec, check_images
from diffolio.process.guidance import combine

if TYPE_CHECKING:
    from diffolio.models.model import Model


class OfTokens(Architecture):
    """What both have in common: there is no noise to predict, but logits of tokens."""

    denoiser, denoises = "transformer", False

    def call(self, condition: Condition, guided: bool) -> dict[str, Any]:
        return {"condition": condition}

    def multiple(self, pipeline: Any) -> int:
        return self.size(pipeline)

    def largest(self, pipeline: Any) -> int | None:
        return self.size(pipeline)

    def reads(self, pipeline: Any) -> int:
        return self.codec(pipeline).channels

    def size(self, pipeline: Any) -> int:
        """Pixels a side, of the only pictures that it makes."""
        return int(self.cells(pipeline) * pipeline.vae_scale_factor)

    def cells(self, pipeline: Any) -> int:
        raise NotImplementedError


class Masked(OfTokens, Architecture):
    """aMUSEd (Patil et al., 2024, arXiv:2401.01808): MaskGIT's transformer with CLIP text over a VQModel's tokens (B, h, w)."""

    name, family = "masked", "tokens"  # said here, and the base named, for what reads the source without importing it
    pipelines = ("AmusedPipeline",)

    def rows(self, pipeline: Any, prompts: list[str], negative: list[str] | None, guided: bool) -> dict[str, Arguments]:
        cond = self._row(pipeline, prompts)
        return guided_rows(cond, self._row(pipeline, negative or [""] * len(prompts)) if guided else cond, guided)

    def cells(self, pipeline: Any) -> int:
        return int(pipeline.transformer.config.sample_size)

    def codec(self, pipeline: Any) -> Codec:
        return Tokens(pipeline.vqvae, pipeline.vae_scale_factor)

    def run(self, pipeline: Any, *, tell: Any, arguments: dict[str, Any], **options: Any) -> Tensor:
        """The pipeline takes one generator for all, so that the loop is ours: the scheduler's step, each sample with its own."""
        condition, steps, scale = arguments["condition"], options["num_inference_steps"], options["guidance_scale"]
        scheduler, side = pipeline.scheduler, self.cells(pipeline)
        if options["latents"] is not None:
            raise BadInput("initial latents given: a masked model starts from hidden tokens, leave them out")
        mask = scheduler.config.mask_token_id
        tokens = torch.full((len(condition), side, side), mask, device=pipeline._execution_device)
        scheduler.set_timesteps(steps, (2, 0), pipeline._execution_device)
        for step, t in enumerate(scheduler.timesteps):
            with torch.no_grad():
                logits = masked_logits(pipeline.transformer, tokens, condition, scale)
            drawn = [
                scheduler.step(logits[i : i + 1], t, tokens[i : i + 1], generator=generator).prev_sample
                for i, generator in enumerate(options["generator"])
            ]
            tokens = torch.cat(drawn)
            if tell is not None:
                tell(step + 1, steps)
        return tokens

    def _row(self, pipeline: Any, prompts: list[str]) -> Arguments:
        limit = pipeline.tokenizer.model_max_length
        ids = pipeline.tokenizer(prompts, padding="max_length", max_length=limit, truncation=True, return_tensors="pt").input_ids
        read = pipeline.text_encoder(ids.to(pipeline._execution_device), output_hidden_states=True)
        side = self.size(pipeline)
        sizes = torch.tensor([[side, side, 0, 0, 6]], device=ids.device).repeat(len(prompts), 1)  # the pipeline's own defaults
        return {
            "encoder_hidden_states": read.hidden_states[-2], "pooled_text_emb": read.text_embeds,
            "micro_conds": sizes.to(read.text_embeds),
        }  # fmt: skip


class NextScale(OfTokens, Architecture):
    """Next-scale prediction of bits: latents are the accumulated features F_K (B, d, h, w)."""

    name, family = "next_scale", "tokens"
    pipelines = ("NextScalePipeline",)

    def rows(self, pipeline: Any, prompts: list[str], negative: list[str] | None, guided: bool) -> dict[str, Arguments]:
        cond = self._row(pipeline, prompts)
        return guided_rows(cond, self._row(pipeline, negative or [""] * len(prompts)) if guided else cond, guided)

    def cells(self, pipeline: Any) -> int:
        return int(pipeline.autoencoder.config.scales[-1])

    def codec(self, pipeline: Any) -> Codec:
        return Bits(pipeline.autoencoder)

    def run(self, pipeline: Any, *, tell: Any, arguments: dict[str, Any], **options: Any) -> Tensor:
        """As many steps as scales, whatever number is asked for."""
        condition = arguments["condition"]
        if options["latents"] is not None:
            raise BadInput("initial latents given: a next-scale model starts from the text, leave them out")
        cond, uncond = (tuple(condition.rows[row].values()) if row in condition.rows else None for row in ("cond", "uncond"))
        return pipeline(  # type: ignore[no-any-return]
            prompt_embeds=cond, negative_prompt_embeds=uncond, guidance_scale=options["guidance_scale"] if uncond else 1.0,
            generator=options["generator"], output_type="latent", callback=tell,
        ).images  # fmt: skip

    def _row(self, pipeline: Any, prompts: list[str]) -> Arguments:
        states, pooled = pipeline.encode_prompt(prompts)
        return {"states": states, "pooled": pooled}


class Tokens:
    """A VQModel between pictures in [0, 1] and token ids (B, h, w), int64."""

    channels = 1

    def __init__(self, vqvae: Any, factor: int) -> None:
        if not vqvae.config.lookup_from_codebook:
            raise Unsupported("the pipeline's VQModel does not decode from its codebook (lookup_from_codebook is off)")
        self.vqvae, self.factor = vqvae, factor

    def encode(self, images: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
        check_images(images, self.factor)
        latents = self.vqvae.encode(images.to(self.vqvae.device, self.vqvae.dtype)).latents
        return self.vqvae.quantize(latents)[2][2].view(len(latents), *latents.shape[-2:])  # type: ignore[no-any-return]

    def decode(self, latents: Tensor) -> Tensor:
        check_tokens(latents, self.vqvae.config.num_vq_embeddings)
        shape = (*latents.shape, self.vqvae.config.latent_channels)
        return self.vqvae.decode(latents, force_not_quantize=True, shape=shape).sample.clamp(0, 1)  # type: ignore[no-any-return]


class Bits:
    """A BitwiseTokenizer between pictures in [0, 1] and accumulated features (B, d, h, w)."""

    def __init__(self, autoencoder: Any) -> None:
        self.autoencoder, self.factor, self.channels = autoencoder, autoencoder.factor, int(autoencoder.config.bits)
        self.side = autoencoder.factor * autoencoder.config.scales[-1]

    def encode(self, images: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
        check_images(images)
        if images.shape[-2:] != (self.side, self.side):
            height, width = images.shape[-2:]
            raise BadInput(f"pictures of {width}x{height}: the tokenizer's scales are for {self.side}x{self.side}")
        features = self.autoencoder.encode(images.to(self.autoencoder.device, self.autoencoder.dtype))
        return self.autoencoder.quantize(features)[1][-1]  # type: ignore[no-any-return]

    def decode(self, latents: Tensor) -> Tensor:
        images = self.autoencoder.decode(latents)
        return images if latents.requires_grad else images.clamp(0, 1)  # type: ignore[no-any-return]


def masked_logits(transformer: Any, tokens: Tensor, condition: Condition, guidance_scale: float = 1.0) -> Tensor:
    """Guided logits (B, codes, h, w) of tokens (B, h, w), some of which are the mask: u + g (c - u)."""
    if guidance_scale == 1 or "uncond" not in condition.rows:
        return transformer(tokens, **condition["cond"])  # type: ignore[no-any-return]
    uncond, cond = transformer(torch.cat([tokens, tokens]), **join([condition["uncond"], condition["cond"]])).chunk(2)
    return combine(uncond, cond, guidance_scale)


def check_tokens(tokens: Tensor, codes: int, shape: Sequence[int] | None = None) -> None:
    """BadInput unless these are ids (B, h, w) below ``codes``, of this shape if one is given."""
    if tokens.is_floating_point() or tokens.dim() != 3 or (shape is not None and tuple(tokens.shape[1:]) != tuple(shape)):
        wanted = "(B, h, w)" if shape is None else f"(B, {', '.join(map(str, shape))})"
        raise BadInput(f"tokens of shape {tuple(tokens.shape)} and type {tokens.dtype}: give ids {wanted}, int64")
    low, high = (int(value) for value in torch.aminmax(tokens))
    if low < 0 or high >= codes:
        raise BadInput(f"token ids from {low} to {high}: the codebook has 0 to {codes - 1}")


def tokens_model(model: Model, name: str) -> Any:
    """The pipeline of a model of tokens of this kind ("masked", "next_scale"); Unsupported for another."""
    if name not in model.kinds:
        raise Unsupported(f"{model.name} is a {type(model.pipeline).__name__} ({', '.join(sorted(model.kinds))}), not {name}")
    return model.pipeline
