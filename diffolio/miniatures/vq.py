"""mini-vq: an AmusedPipeline of 3M parameters, a masked transformer over the tokens of a VQModel, on the tabletop world."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.miniatures.latents import encode_with, faded
from diffolio.miniatures.text import read, text_config, tokenizer
from diffolio.miniatures.tokenizers import tokens_of
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.process.sampling import stratified
from diffolio.worlds.tabletop import Mixture, sample_scenes

if TYPE_CHECKING:
    from diffusers import VQModel

TEXT = 64  # width of the CLIP


class MiniVQ:
    """Objective: cross-entropy of hidden tokens given the others and the caption (MaskGIT, Chang et al., 2022, eq. 1).

    The share that is hidden is cos(pi r / 2), r uniform, as when sampling; captions are dropped for guidance, and cells where
    things stand count up to ``emphasis`` times as much, the less the more is hidden. Tokens that are seen count a little too, so
    that the logits of a clean grid agree with it, which inversion needs. UVit2DModel has no position embeddings:
    its convolutions tell where the border is, and three blocks of them reach the middle of the 8 x 8 cells inside.
    """

    batch = 32
    drop = 0.1
    emphasis = 5.0
    seen = 0.1

    def __init__(self, vqvae: VQModel, scenes: int = 16_000, mixture: Mixture | None = None) -> None:
        from diffusers import UVit2DModel
        from diffusers.schedulers import AmusedScheduler
        from transformers import CLIPTextModelWithProjection

        self.vqvae = vqvae.eval().requires_grad_(False)
        codes = vqvae.config.num_vq_embeddings
        self.tokenizer = tokenizer()
        self.text_encoder = CLIPTextModelWithProjection(text_config(self.tokenizer, TEXT, layers=2))
        self.transformer = UVit2DModel(
            hidden_size=128,
            cond_embed_dim=TEXT,
            micro_cond_encode_dim=16,
            micro_cond_embed_dim=5 * 16,
            encoder_hidden_size=TEXT,
            vocab_size=codes + 1,
            codebook_size=codes,
            in_channels=64,
            block_out_channels=64,
            num_res_blocks=3,
            downsample=True,
            upsample=True,
            block_num_heads=2,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=144,
            sample_size=16,
        )
        self.scheduler = AmusedScheduler(mask_token_id=codes)
        self.data = (
            encode_with(lambda images: tokens_of(self.vqvae, images).short(), sample_scenes(scenes, TRAIN_SEED, mixture))
            if scenes
            else None
        )
        self.modules: dict[str, nn.Module] = {"transformer": self.transformer, "text_encoder": self.text_encoder}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        assert self.data is not None
        drawn, captions, weights = self.data.draw(self.batch, self.drop, generator, self.emphasis)
        device = self.transformer.device
        tokens, weights = drawn.long().to(device), weights.to(device)
        hidden = hide(tokens.shape, generator).to(device)
        states, pooled = self.encode(captions)
        side = 64.0
        sizes = torch.tensor([[side, side, 0.0, 0.0, 6.0]], device=device).expand(self.batch, -1)  # as the pipeline tells them
        given = tokens.masked_fill(hidden, self.scheduler.config.mask_token_id)
        logits = self.transformer(given, states, pooled, sizes).float()
        error = F.cross_entropy(logits, tokens, reduction="none")
        weights = faded(weights, hidden.float().mean((1, 2))) * torch.where(hidden, 1.0, self.seen)
        plain = (error.detach() * hidden).sum() / hidden.sum()
        return (error * weights).sum() / weights.sum(), {"plain": plain}

    def encode(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Token states (B, 32, 64) and pooled states (B, 64), as the pipeline takes them."""
        return read(self.tokenizer, self.text_encoder, captions)

    def export(self, folder: Path) -> None:
        """Write an AmusedPipeline folder (float16 safetensors)."""
        from diffusers import AmusedPipeline

        pipeline = AmusedPipeline(self.vqvae, self.tokenizer, self.text_encoder, self.transformer, self.scheduler)
        pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
        pipeline.to(torch.float32)


def hide(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Which tokens (B, h, w) are hidden: the share cos(pi r / 2) of each sample, at least one, r stratified over the batch."""
    batch, cells = shape[0], math.prod(shape[1:])
    count = (torch.cos(stratified(batch, generator) * math.pi / 2) * cells).ceil().clamp_min(1)
    order = torch.rand((batch, cells), generator=generator).argsort(1).argsort(1)
    return (order < count[:, None]).view(shape)
