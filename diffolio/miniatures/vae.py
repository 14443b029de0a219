"""mini-vae: an AutoencoderKL of factor 4 on the tabletop world (64x64x3 -> 16x16x4)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.worlds.tabletop import Mixture, Scene, render, sample_scenes

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

TRAIN_SEED = 10_000_000  # training scenes have seeds from here on; claims and tests stay below

# The autoencoder sees every texture and style more often than the captions' world shows them.
RICH = Mixture(counts=(0.3, 0.4, 0.3), plain=0.4, flat=0.55)


class MiniVAE:
    """Objective: L1 + MSE reconstruction and a small KL to N(0, I), mean over elements."""

    batch = 16
    kl_weight = 2e-4
    mixture = RICH

    def __init__(self) -> None:
        from diffusers import AutoencoderKL

        self.vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(24, 48, 64),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
            sample_size=64,
            mid_block_add_attention=False,  # purely convolutional: as good at 128 pixels as at 64
        )
        self.modules: dict[str, nn.Module] = {"vae": self.vae}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        images = render(sample_scenes(self.batch, TRAIN_SEED + step, self.mixture), 64).images.to(self.vae.device) * 2 - 1
        posterior = self.vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(self.vae.device)
        decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        error = decoded - images
        kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        loss = error.abs().mean() + error.square().mean() + self.kl_weight * kl
        return loss, {"psnr": psnr_of(error), "kl": kl.detach()}

    @torch.no_grad()
    def export(self, folder: Path, scenes: list[Scene] | None = None) -> None:
        """Write ordinary diffusers files (float16); the scaling factor is one over the latents' standard deviation."""
        images = render(scenes or sample_scenes(256, TRAIN_SEED - 1, Mixture()), 64).images.to(self.vae.device) * 2 - 1
        latents = torch.cat([self.vae.encode(part).latent_dist.mean for part in images.split(64)])
        self.vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
        self.vae.half().save_pretrained(folder, safe_serialization=True)
        self.vae.float()


class MiniVAEDecoder(MiniVAE):
    """Second stage: the encoder, and so the latent space, stays; the decoder learns on squared error from posterior means."""

    batch = 24

    def __init__(self, vae: AutoencoderKL) -> None:
        self.vae = vae
        vae.requires_grad_(False)
        vae.decoder.requires_grad_(True)
        vae.post_quant_conv.requires_grad_(True)
        self.modules = {"vae": vae}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        images = render(sample_scenes(self.batch, 2 * TRAIN_SEED + step, self.mixture), 64).images.to(self.vae.device) * 2 - 1
        with torch.no_grad():
            latents = self.vae.encode(images).latent_dist.mean
        error = self.vae.decode(latents).sample.float() - images
        return error.square().mean() + 0.1 * error.abs().mean(), {"psnr": psnr_of(error)}

    def export(self, folder: Path, scenes: list[Scene] | None = None) -> None:
        self.vae.half().save_pretrained(folder, safe_serialization=True)
        self.vae.float()


def psnr_of(error: Tensor) -> Tensor:
    """PSNR in dB of an error in [-1, 1] units."""
    return 10 * torch.log10(4 / error.detach().float().square().mean())
