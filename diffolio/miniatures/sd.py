"""mini-sd: a StableDiffusionPipeline of 6M parameters on the tabletop world's captions."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.miniatures.latents import encode_scenes, faded
from diffolio.miniatures.text import text_config, token_ids, tokenizer
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.process.prediction import alpha_sigma
from diffolio.process.sampling import logit_normal
from diffolio.worlds.tabletop import Mixture, Scene, sample_scenes
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS
from diffolio.worlds.tabletop.scene import SIDES
from diffolio.worlds.tabletop.shapes import KIND_NAMES

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

    A share ``means`` of the batches are pure noise, as sampling begins with, in which the mean picture of the caption is to be
    seen, as mean clips are in ``MiniVideo``: where two things stand to each other is a matter of word, order and place all at
    once, so that its gradient starts at nothing, and it is told in so much noise only that an error of the clean picture hardly
    counts in that of the noise. Trained on pictures alone it had not begun to be read, and then took some hundreds of these.
    """

    batch = 16
    drop = 0.1
    gamma = 5.0
    emphasis = 5.0
    means = 0.125

    def __init__(
        self, vae: AutoencoderKL, scenes: int = 30_000, mixture: Mixture | None = None, looks: int = 48, places: int = 10
    ) -> None:
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
        if scenes:
            self.captions, self.expected = mean_pictures(vae, looks, places)
        self.modules: dict[str, nn.Module] = {"unet": self.unet, "text_encoder": self.text_encoder}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """One batch of mean pictures or of pictures; what is told says which."""
        assert self.data is not None
        if float(torch.rand((), generator=generator)) < self.means:
            return self.mean_loss(generator)
        latents, captions, weights = self.data.draw(self.batch, self.drop, generator, self.emphasis)
        loss, told = noise_loss(self, latents, captions, generator, self.gamma, weights)
        return loss, {**told, "means": torch.tensor(0.0)}

    def mean_loss(self, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The error of the clean picture seen in pure noise against mean pictures, of each look in all four relations.

        Its timesteps are the last sixteenth, where samplers of sixteen steps and more begin.
        """
        device = self.unet.device
        look = torch.randperm(len(self.captions), generator=generator)[: max(self.batch // len(SIDES), 1)]
        expected = self.expected[look].flatten(0, 1).float().to(device)
        captions = [caption for i in look.tolist() for caption in self.captions[i]]
        noise = torch.randn(expected.shape, generator=generator).to(device)
        steps = self.scheduler.config.num_train_timesteps
        t = torch.randint(steps * 15 // 16, steps, (len(expected),), generator=generator)
        alpha, sigma = (level.to(noise) for level in alpha_sigma(self.scheduler, t))
        clean = (noise - sigma * self.unet(noise, t.to(device), token_states(self, captions)).sample.float()) / alpha
        loss = (clean - expected).square().mean()
        return loss, {"plain": loss.detach(), "means": torch.tensor(1.0)}

    def export(self, folder: Path) -> None:
        """Write a StableDiffusionPipeline folder (float16 safetensors)."""
        from diffusers import StableDiffusionPipeline

        pipeline = StableDiffusionPipeline(
            self.vae, self.text_encoder, self.tokenizer, self.unet, self.scheduler,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
        pipeline.to(torch.float32)


def mean_pictures(vae: AutoencoderKL, looks: int, places: int, seed: int = TRAIN_SEED) -> tuple[list[list[str]], Tensor]:
    """Captions [looks][relations] and, for each, the mean of the latents of ``places`` scenes (looks, 4, 4, 16, 16), float16.

    Each look has its own two kinds and colours and its background, and all the relations, so that nothing but the relation's
    word tells one of them from another; opposite ones have the same places, with the two things exchanged.
    """
    rng = random.Random(f"looks/{seed}")
    drawn = sample_scenes(20 * places, seed + 1, Mixture(counts=(0.0, 1.0, 0.0), in_front=0.0))
    scenes: list[Scene] = []
    for _ in range(looks):
        kinds, colours, ground = rng.sample(KIND_NAMES, 2), rng.sample(tuple(COLOURS), 2), rng.choice(tuple(BACKGROUNDS))
        for relation, opposite in (SIDES[:2], SIDES[2:]):
            standing = rng.sample([scene for scene in drawn if scene.relation == relation], places)
            standing = [scene.change(background=ground, texture="plain", style="flat") for scene in standing]
            exchanged = [scene.change(subject=1 - scene.subject, relation=opposite) for scene in standing]
            for scene in (*standing, *exchanged):
                first = scene.change(scene.subject, kind=kinds[0], colour=colours[0])
                scenes.append(first.change(1 - scene.subject, kind=kinds[1], colour=colours[1]))
    captions = [scene.caption for scene in scenes[::places]]
    latents = encode_scenes(vae, scenes).latents.float().unflatten(0, (looks, len(SIDES), places))
    return [captions[i : i + len(SIDES)] for i in range(0, len(captions), len(SIDES))], latents.mean(2).half()


def token_states(parts: Any, captions: list[str]) -> Tensor:
    """What the ``text_encoder`` of ``parts`` makes of captions: (B, 32, width)."""
    tokens = token_ids(parts.tokenizer, captions).to(parts.text_encoder.device)
    states: Tensor = parts.text_encoder(tokens).last_hidden_state
    return states


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
    states = token_states(parts, captions)
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
