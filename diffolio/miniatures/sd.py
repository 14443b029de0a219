"""mini-sd: a StableDiffusionPipeline of 6M parameters on the tabletop world's captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.miniatures.latents import encode_scenes, faded
from diffolio.miniatures.text import text_config, token_ids, tokenizer
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.process.sampling import logit_normal
from diffolio.worlds.tabletop import Mixture, sample_scenes

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDIMScheduler


def schedule(**changes: object) -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, **changes,
    )  # fmt: skip


class MiniSD:
    """Objective: noise prediction with min-SNR weighting (Hang et al., 2023, gamma 5) and caption dropout for guidance.

    Timesteps are logit-normal (Esser et al., 2024), and the error counts up to ``emphasis`` times as much where things stand,
    the less the more noise there is: outlines are what the world's reader looks at, and they cover a small part of the picture.
    The text encoder is trained along. Latents of ``scenes`` training scenes are computed once; captions are redrawn at
    every use, so that paraphrases and left-out adjectives vary.
    """

    batch = 16
    drop = 0.1
    gamma = 5.0
    emphasis = 5.0

    def __init__(self, vae: AutoencoderKL, scenes: int = 30_000, mixture: Mixture | None = None) -> None:
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextModel

        self.vae = vae.eval().requires_grad_(False)
        self.tokenizer = tokenizer()
        self.text_encoder = CLIPTextModel(text_config(self.tokenizer, width=64, layers=2))
        self.unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock2D",) * 3,
            up_block_types=("CrossAttnUpBlock2D",) * 3,
            block_out_channels=(64, 96, 128),
            layers_per_block=1,
            cross_attention_dim=64,
            attention_head_dim=4,
            norm_num_groups=16,
        )
        self.scheduler = schedule()
        self.data = encode_scenes(vae, sample_scenes(scenes, TRAIN_SEED, mixture)) if scenes else None
        self.modules: dict[str, nn.Module] = {"unet": self.unet, "text_encoder": self.text_encoder}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        assert self.data is not None
        latents, captions, weights = self.data.draw(self.batch, self.drop, generator, self.emphasis)
        return noise_loss(self, latents, captions, generator, self.gamma, weights)

    def export(self, folder: Path) -> None:
        """Write a StableDiffusionPipeline folder (float16 safetensors)."""
        from diffusers import StableDiffusionPipeline

        pipeline = StableDiffusionPipeline(
            self.vae, self.text_encoder, self.tokenizer, self.unet, self.scheduler,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
        pipeline.to(torch.float32)


def noise_loss(
    parts: MiniSD,
    latents: Tensor,
    captions: list[str],
    generator: torch.Generator,
    gamma: float = 5.0,
    weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean min-SNR weighted squared error of the predicted noise. ``latents`` (B, 4, h, w), ``weights`` (B, h, w) or none."""
    latents = latents.to(parts.unet.device)
    states = parts.text_encoder(token_ids(parts.tokenizer, captions).to(latents.device)).last_hidden_state
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    steps = parts.scheduler.config.num_train_timesteps
    t = (logit_normal(len(latents), generator) * steps).long().clamp_max(steps - 1).to(latents.device)
    noisy = parts.scheduler.add_noise(latents, noise, t)
    predicted = parts.unet(noisy, t, states).sample
    alphas = parts.scheduler.alphas_cumprod.to(latents.device)[t]
    snr = alphas / (1 - alphas)
    weight = snr.clamp(max=gamma) / snr
    error = (predicted.float() - noise).square().mean(1)
    plain = error.detach().mean()
    if weights is not None:
        error = error * faded(weights.to(error), t / steps)
    return (weight * error.mean((1, 2))).mean(), {"plain": plain}
