"""mini-video: a LattePipeline of 3M parameters, attention in space and time by turns and rectified flow, on the motion world."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.miniatures.latents import emphasised, faded
from diffolio.miniatures.text import t5_tokenizer
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.process.sampling import logit_normal
from diffolio.worlds.motion import DIRECTIONS, ONE_MOVER, SCALINGS, Mixture, Script, sample_scripts, vocabulary
from diffolio.worlds.tabletop import render
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS
from diffolio.worlds.tabletop.shapes import KIND_NAMES

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

FRAMES = 8
LENGTH = 40  # tokens that captions of one thing never reach
PIPELINE_LENGTH = 120  # what the pipeline pads captions to
WIDTH = 128
WAYS = (*DIRECTIONS, *SCALINGS)
PLAIN = replace(ONE_MOVER, motions=(0.8, 0.2, 0.0, 0.0, 0.0), plain=1.0, flat=1.0)  # all ways equally often


class MiniVideo:
    """Objective: the rectified-flow velocity (Liu et al., 2022; Esser et al., 2024, eq. 14) of clips of eight frames.

    The pipeline hands the network the states of a T5 with those of the padding set to zero, 120 of them; one batch in eight is
    trained at that length. It also throws half of the output channels away, a variance that flows have no use for: they stay
    untrained. Where things are, the error weighs up to ``emphasis`` times as much, the less the more noise there is.

    A share ``stills`` of the batches are ``singles`` single frames, which skip the attention in time (the joint training on images
    and videos of Latte, Ma et al., 2024): they cost a third of a batch of clips, whose frames are much alike, and show four
    times as many scenes. They teach pictures; three in four of the first 8,800 batches were such, one in four afterwards.

    Where a thing goes is decided in far more noise than what it looks like, as eight frames tell of it: the times of clips are
    shifted by the root of the number of frames (Esser et al., 2024, section 5.3.2). Without, one clip in seventy was noisy enough
    to ask for it.

    A share ``means`` of the batches are pure noise, and what is to be seen in it is the mean clip of the caption itself, not one
    clip of many: the same minimum with the variance taken out of the target (Xu et al., 2023, "Stable Target Field"). A way is
    a matter of word, place and frame all at once, so that its gradient starts at nothing: after 12,000 batches of clips alone the
    network had not begun to read it, and with their mean it takes a few hundred.
    """

    batch = 8
    means = 0.125
    stills = 0.25
    singles = 32
    drop = 0.1
    emphasis = 5.0

    def __init__(
        self, vae: AutoencoderKL, clips: int = 4000, mixture: Mixture | None = ONE_MOVER, looks: int = 6, places: int = 20
    ) -> None:
        from diffusers import LatteTransformer3DModel, UniPCMultistepScheduler
        from transformers import T5Config, T5EncoderModel

        self.vae = vae.eval().requires_grad_(False)
        self.tokenizer = t5_tokenizer(tuple(vocabulary()))
        self.text_encoder = T5EncoderModel(
            T5Config(
                vocab_size=len(self.tokenizer),
                d_model=WIDTH,
                d_ff=2 * WIDTH,
                d_kv=32,
                num_layers=2,
                num_heads=4,
                dropout_rate=0.0,
            )
        )
        self.transformer = LatteTransformer3DModel(
            sample_size=16,
            video_length=FRAMES,
            patch_size=2,
            in_channels=4,
            out_channels=8,
            num_layers=5,
            num_attention_heads=4,
            attention_head_dim=WIDTH // 4,
            cross_attention_dim=WIDTH,
            caption_channels=WIDTH,
            attention_bias=True,
            activation_fn="gelu-approximate",
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            num_embeds_ada_norm=1000,
        )
        self.scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
        self.scripts = sample_scripts(clips, TRAIN_SEED, mixture, FRAMES) if clips else []
        if clips:
            self.latents, self.things = encode_clips(vae, self.scripts)
            self.asked, self.expected = mean_clips(vae, looks, places)
        self.modules: dict[str, nn.Module] = {"transformer": self.transformer, "text_encoder": self.text_encoder}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """One batch of mean clips, of clips or of frames; what is told says which."""
        if float(torch.rand((), generator=generator)) < self.means:
            return self.mean_loss(generator)
        still = float(torch.rand((), generator=generator)) < self.stills
        batch = self.singles if still else self.batch
        index = torch.randint(len(self.scripts), (batch,), generator=generator)
        dropped = torch.rand(batch, generator=generator) < self.drop
        captions = ["" if off else self.scripts[i].caption for i, off in zip(index.tolist(), dropped.tolist(), strict=True)]
        latents, things = self.latents[index].float(), self.things[index]
        if still:
            frame = torch.randint(FRAMES, (batch,), generator=generator)
            latents, things = latents[range(batch), :, frame][:, :, None], things[range(batch), frame][:, None]
        weights = emphasised(things, self.things, self.emphasis)
        long = float(torch.rand((), generator=generator)) < 1 / 8
        device = self.transformer.device
        states = self.encode(captions, PIPELINE_LENGTH if long else LENGTH)
        latents, noise = latents.to(device), torch.randn(latents.shape, generator=generator).to(device)
        spread, shift = (1.0, 1.0) if still else (1.3, math.sqrt(FRAMES))
        sigma = logit_normal(batch, generator, spread, shift).to(device)
        error = self.error(latents, noise, sigma, states, still=still)
        return (error * faded(weights.to(device), sigma)).mean(), told(error, still=still)

    def mean_loss(self, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The error of what pure noise is taken for against mean clips, of as many ways as there are."""
        look = torch.randint(len(self.asked), (self.batch,), generator=generator)
        rounds = math.ceil(self.batch / len(WAYS))  # every way once before any of them twice
        way = torch.cat([torch.randperm(len(WAYS), generator=generator) for _ in range(rounds)])[: self.batch]
        device = self.transformer.device
        states = self.encode([self.asked[i][j] for i, j in zip(look.tolist(), way.tolist(), strict=True)], LENGTH)
        expected = self.expected[look, way].float().to(device)
        noise = torch.randn(expected.shape, generator=generator).to(device)
        error = self.error(expected, noise, torch.ones(self.batch, device=device), states)
        return error.mean(), told(error, mean=True)

    def error(self, latents: Tensor, noise: Tensor, sigma: Tensor, states: Tensor, *, still: bool = False) -> Tensor:
        """The squared error (B, T, 16, 16) of the velocity at noise levels ``sigma`` (B,); of frames on their own if ``still``."""
        noisy = torch.lerp(latents, noise, sigma[:, None, None, None, None])
        times = sigma * self.scheduler.config.num_train_timesteps
        velocity = self.transformer(noisy, times, states, enable_temporal_attentions=not still).sample[:, :4]
        return (velocity.float() - (noise - latents)).square().mean(1)

    def encode(self, captions: list[str], length: int = PIPELINE_LENGTH) -> Tensor:
        """Token states (B, length, 128), zero where there is only padding."""
        tokens = self.tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        tokens = tokens.to(self.text_encoder.device)
        states = self.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return states * tokens.attention_mask[..., None]

    def export(self, folder: Path) -> None:
        """Write a LattePipeline folder (float16 safetensors)."""
        from diffusers import LattePipeline

        pipeline = LattePipeline(self.tokenizer, self.text_encoder, self.vae, self.transformer, self.scheduler)
        pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
        pipeline.to(torch.float32)


def told(error: Tensor, *, still: bool = False, mean: bool = False) -> dict[str, Tensor]:
    """What a log keeps of a batch: its unweighted error, and whether it was of frames or of mean clips."""
    return {"plain": error.detach().mean(), "still": torch.tensor(float(still)), "means": torch.tensor(float(mean))}


def mean_clips(vae: AutoencoderKL, looks: int, places: int, seed: int = TRAIN_SEED) -> tuple[list[list[str]], Tensor]:
    """Captions [looks][ways] and, for each, the mean of the latents of ``places`` clips that it fits (looks, ways, 4, T, 16, 16).

    Clips of one way differ in where the thing starts, how large it is and how far it goes; each look has its own kind, colour and
    background and all the ways, so that nothing but the word tells one way from another.
    """
    rng = random.Random(f"looks/{seed}")
    dress = [(rng.choice(KIND_NAMES), rng.choice(tuple(COLOURS)), rng.choice(tuple(BACKGROUNDS))) for _ in range(looks)]
    asked: list[list[str]] = [[] for _ in dress]
    expected = []
    drawn = sample_scripts(4 * places * len(WAYS), seed + 1, PLAIN, FRAMES)
    for way in WAYS:
        going = [script for script in drawn if script.motions[0].what == way][:places]
        for captions, (kind, colour, ground) in zip(asked, dress, strict=True):
            scripts = [s.change(0, kind=kind, colour=colour).change(background=ground) for s in going]
            captions.append(scripts[0].caption)
            expected.append(encode_clips(vae, scripts)[0].float().mean(0).half())
    return asked, torch.stack(expected).unflatten(0, (len(WAYS), looks)).transpose(0, 1)


@torch.no_grad()
def encode_clips(vae: AutoencoderKL, scripts: list[Script], at_once: int = 8) -> tuple[Tensor, Tensor]:
    """Scaled posterior means (N, 4, T, 16, 16) and the cells in or next to a thing (N, T, 16, 16), both float16."""
    latents, things = [], []
    for start in range(0, len(scripts), at_once):
        chosen = scripts[start : start + at_once]
        drawn = render([script.scene_at(frame) for script in chosen for frame in range(script.length)], 64)
        scaled = vae.encode(drawn.images * 2 - 1).latent_dist.mean * vae.config.scaling_factor
        latents.append(scaled.unflatten(0, (len(chosen), -1)).transpose(1, 2).half())
        cells = F.max_pool2d(drawn.full.any(1, keepdim=True).float(), 4)
        things.append(F.max_pool2d(cells, 3, stride=1, padding=1)[:, 0].unflatten(0, (len(chosen), -1)).half())
    return torch.cat(latents), torch.cat(things)
