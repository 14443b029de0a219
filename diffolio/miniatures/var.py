"""mini-var: a next-scale transformer of 1.5M parameters over the bits of a multi-scale tokenizer, on the tabletop world."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.miniatures.latents import encode_with, faded
from diffolio.miniatures.text import read, text_config, tokenizer
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.nets.bitwise import BitwiseTokenizer
from diffolio.nets.next_scale import NextScaleTransformer
from diffolio.worlds.tabletop import Mixture, sample_scenes

TEXT = 64  # width of the CLIP


class MiniVAR:
    """Objective: binary cross-entropy of the bits of every scale given the coarser ones and the caption (Infinity, section 3.2).

    A picture's share of flipped bits is uniform up to ``flips`` (self-correction, section 3.4): what a scale gets wrong, the
    next ones are taught to mend. Scales count the same, however many bits they have; captions are dropped for guidance, and
    cells where things stand count up to ``emphasis`` times as much, the more the finer the scale is that is known before.
    """

    batch = 16
    drop = 0.1
    emphasis = 5.0
    flips = 0.2

    def __init__(self, autoencoder: BitwiseTokenizer, scenes: int = 16_000, mixture: Mixture | None = None) -> None:
        from transformers import CLIPTextModelWithProjection

        self.autoencoder = autoencoder.eval().requires_grad_(False)
        config = autoencoder.config
        self.tokenizer = tokenizer()
        self.text_encoder = CLIPTextModelWithProjection(text_config(self.tokenizer, TEXT, layers=2))
        self.transformer = NextScaleTransformer(
            bits=config.bits, scales=config.scales, width=128, layers=5, heads=4, text_width=TEXT, pooled_width=TEXT
        )
        self.data = (
            encode_with(lambda images: autoencoder.encode(images).half(), sample_scenes(scenes, TRAIN_SEED, mixture))
            if scenes
            else None
        )
        self.modules: dict[str, nn.Module] = {"transformer": self.transformer, "text_encoder": self.text_encoder}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        assert self.data is not None
        features, captions, weights = self.data.draw(self.batch, self.drop, generator, self.emphasis)
        device = self.transformer.device
        flips = [flip.to(device) for flip in self.flipped(generator)]
        bits, sums = self.autoencoder.to(device).quantize(features.to(device), flips)
        states, pooled = self.encode(captions)
        logits = self.transformer(sums[:-1], states, pooled)
        errors, weights = [], weights.to(device)
        # Cells a side of the scale that is known before; at first nothing tells where things stand.
        known = (1, *self.autoencoder.config.scales[:-1])
        for predicted, wanted, side in zip(logits, bits, known, strict=True):
            fading = faded(weights, torch.full((len(weights),), 1 / side))
            weight = F.adaptive_avg_pool2d(fading[:, None], wanted.shape[-1])
            error = F.binary_cross_entropy_with_logits(predicted.float(), wanted.float(), reduction="none")
            errors.append((error * weight).mean())
        named = {f"scale {side}": e.detach() for side, e in zip(self.autoencoder.config.scales, errors, strict=True)}
        return torch.stack(errors).mean(), named

    def flipped(self, generator: torch.Generator) -> list[Tensor]:
        """Which bits are flipped, bool (B, d, s_k, s_k) per scale."""
        config = self.autoencoder.config
        share = self.flips * torch.rand((self.batch, 1, 1, 1), generator=generator)
        shapes = ((self.batch, config.bits, side, side) for side in config.scales)
        return [torch.rand(shape, generator=generator) < share for shape in shapes]

    def encode(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Token states (B, 32, 64) and pooled states (B, 64), as the pipeline takes them."""
        return read(self.tokenizer, self.text_encoder, captions)

    def export(self, folder: Path) -> None:
        """Write a NextScalePipeline folder (float16 safetensors)."""
        from diffolio.nets.next_scale_pipeline import NextScalePipeline

        pipeline = NextScalePipeline(self.autoencoder, self.tokenizer, self.text_encoder, self.transformer)
        pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
        pipeline.to(torch.float32)
