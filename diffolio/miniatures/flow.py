"""mini-flow: a StableDiffusion3Pipeline of 4M parameters, joint attention and rectified flow, on the tabletop world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.miniatures.latents import encode_scenes, faded
from diffolio.miniatures.text import t5_tokenizer, text_config, token_ids, tokenizer
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.process.sampling import logit_normal
from diffolio.worlds.tabletop import Mixture, sample_scenes

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

T5_LENGTH = 256  # what the pipeline pads the T5's tokens to unless it is told otherwise
MOSTLY_ONE = Mixture(counts=(0.8, 0.2, 0.0))
WIDTH = 64  # of each CLIP; the T5 is as wide as both, as in the true model


class MiniFlow:
    """Objective: the rectified-flow velocity (Esser et al., 2024, eq. 14) with logit-normal times and caption dropout.

    Stable Diffusion 3 takes three text encoders, two CLIPs and a T5; here they are one or two layers deep and trained along.
    The pipeline pads the T5's 256 tokens, which would cost three quarters of the computation, so that only one batch in
    eight is trained at that length, a quarter of the size, and the others at that of their longest caption.

    Patches lie one unit apart in the position embedding, a buffer that is shipped with the weights. In the class's
    own a picture of n patches a side spans n * n / ``pos_embed_max_size`` units: here two, a third of the shortest wave, so that
    neighbours can hardly be told apart.

    Four scenes in five hold one thing: what a thing looks like is learned from them, and has to be before how two stand. Where
    things stand, the error weighs up to ``emphasis`` times as much, the less the more noise there is.
    """

    batch = 16
    drop = 0.1
    emphasis = 5.0

    def __init__(self, vae: AutoencoderKL, scenes: int = 30_000, mixture: Mixture | None = None) -> None:
        from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
        from diffusers.models.embeddings import get_2d_sincos_pos_embed
        from transformers import CLIPTextModelWithProjection, T5Config, T5EncoderModel

        self.vae = vae.eval().requires_grad_(False)
        self.vae.register_to_config(shift_factor=0.0)  # the pipeline adds it
        self.tokenizer = tokenizer()
        self.tokenizer_3 = t5_tokenizer()
        self.text_encoder = CLIPTextModelWithProjection(text_config(self.tokenizer, WIDTH, layers=2))
        self.text_encoder_2 = CLIPTextModelWithProjection(text_config(self.tokenizer, WIDTH, layers=2))
        self.text_encoder_3 = T5EncoderModel(
            T5Config(
                vocab_size=len(self.tokenizer_3), d_model=2 * WIDTH, d_ff=2 * WIDTH, d_kv=32, num_layers=1, num_heads=4,
                dropout_rate=0.0,
            )
        )  # fmt: skip
        self.transformer = SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=6,
            attention_head_dim=32,
            num_attention_heads=4,
            joint_attention_dim=2 * WIDTH,
            caption_projection_dim=128,
            pooled_projection_dim=2 * WIDTH,
            pos_embed_max_size=32,
        )
        side = self.transformer.config.pos_embed_max_size
        table = self.transformer.pos_embed.pos_embed  # (1, side * side, 128), of which a picture takes the middle
        table.copy_(get_2d_sincos_pos_embed(table.shape[-1], side, base_size=side, output_type="pt"))
        self.scheduler = FlowMatchEulerDiscreteScheduler()
        self.data = encode_scenes(vae, sample_scenes(scenes, TRAIN_SEED, mixture or MOSTLY_ONE)) if scenes else None
        self.modules: dict[str, nn.Module] = {
            "transformer": self.transformer, "text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2,
            "text_encoder_3": self.text_encoder_3,
        }  # fmt: skip

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        assert self.data is not None
        long = float(torch.rand((), generator=generator)) < 1 / 8
        batch = max(self.batch // 4, 1) if long else self.batch
        latents, captions, weights = self.data.draw(batch, self.drop, generator, self.emphasis)
        device = self.transformer.device
        states, pooled = self.encode(captions, T5_LENGTH if long else None)
        latents, noise = latents.to(device), torch.randn(latents.shape, generator=generator).to(device)
        sigma = logit_normal(batch, generator, spread=1.0).to(device)
        noisy = torch.lerp(latents, noise, sigma[:, None, None, None])
        velocity = self.transformer(noisy, states, pooled, sigma * self.scheduler.config.num_train_timesteps).sample
        error = (velocity.float() - (noise - latents)).square().mean(1)
        return (error * faded(weights.to(device), sigma)).mean(), {"plain": error.detach().mean()}

    def encode(self, captions: list[str], length: int | None) -> tuple[Tensor, Tensor]:
        """Token states (B, 32 + length, 128) and pooled states (B, 128), put together as the pipeline does.

        ``length`` is the T5's; None: that of the longest caption.
        """
        device = self.transformer.device
        tokens = token_ids(self.tokenizer, captions).to(device)
        read = [encoder(tokens, output_hidden_states=True) for encoder in (self.text_encoder, self.text_encoder_2)]
        states = torch.cat([out.hidden_states[-2] for out in read], -1)
        more = self.text_encoder_3(token_ids(self.tokenizer_3, captions, length).to(device)).last_hidden_state
        return torch.cat([states, more], 1), torch.cat([out.text_embeds for out in read], -1)

    def export(self, folder: Path) -> None:
        """Write a StableDiffusion3Pipeline folder (float16 safetensors)."""
        from diffusers import StableDiffusion3Pipeline

        pipeline = StableDiffusion3Pipeline(
            transformer=self.transformer, scheduler=self.scheduler, vae=self.vae, text_encoder=self.text_encoder,
            tokenizer=self.tokenizer, text_encoder_2=self.text_encoder_2, tokenizer_2=tokenizer(), text_encoder_3=self.text_encoder_3,
            tokenizer_3=self.tokenizer_3,
        )  # fmt: skip
        pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
        pipeline.to(torch.float32)
