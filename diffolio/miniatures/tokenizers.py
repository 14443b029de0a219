"""Tokenizers of tabletop pictures: mini-vae's encoder and decoder around a codebook, or around a pyramid of bits.

Both start from mini-vae, which already draws the world: what is learned is to draw it from few symbols.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.miniatures.latents import encode_with
from diffolio.miniatures.vae import RICH, TRAIN_SEED, psnr_of
from diffolio.nets.bitwise import BitwiseTokenizer
from diffolio.worlds.tabletop import render, sample_scenes

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel


def tokens_of(vqvae: VQModel, images: Tensor) -> Tensor:
    """Token ids (B, h, w), int64, of pictures (B, 3, H, W) in [0, 1]."""
    latents = vqvae.encode(images.to(vqvae.dtype)).latents
    shape = (len(latents), *latents.shape[-2:])
    return vqvae.quantize(latents)[2][2].view(shape)  # type: ignore[no-any-return]


class MiniVQTokenizer:
    """Objective: pictures from the nearest of ``codes`` vectors a cell (van den Oord et al., 2017, eq. 3), straight through.

    The codebook starts at the centres of a k-means over mini-vae's latents.
    """

    batch = 16
    codes = 512
    commitment = 0.02

    def __init__(self, vae: AutoencoderKL, scenes: int = 500) -> None:
        from diffusers import VQModel

        config = vae.config
        self.vqvae = VQModel(
            down_block_types=config.down_block_types,
            up_block_types=config.up_block_types,
            block_out_channels=config.block_out_channels,
            layers_per_block=config.layers_per_block,
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_num_groups,
            sample_size=64,
            num_vq_embeddings=self.codes,
            mid_block_add_attention=False,
            lookup_from_codebook=True,
        )
        latents = latents_of(vae, scenes)
        std, mean = torch.std_mean(latents, (0, 2, 3))
        inherit(vae, self.vqvae.encoder, self.vqvae.decoder)
        with torch.no_grad():
            # The pipeline's pictures are in [0, 1]; padding with zeros, the border is left to learn what black around it means.
            first, last = self.vqvae.encoder.conv_in, self.vqvae.decoder.conv_out
            first.bias -= first.weight.sum((1, 2, 3))
            first.weight *= 2
            follow(last, torch.eye(3) / 2, torch.full((3,), 0.5))
            set_matrix(self.vqvae.quant_conv, torch.diag(1 / std), -mean / std)
            set_matrix(self.vqvae.post_quant_conv, torch.diag(std), mean)
            follow(self.vqvae.post_quant_conv, *matrix_of(vae.post_quant_conv))
            self.vqvae.quantize.embedding.weight.copy_(centres((latents - mean[:, None, None]) / std[:, None, None], self.codes))
        self.modules: dict[str, nn.Module] = {"vqvae": self.vqvae}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        images = render(sample_scenes(self.batch, 3 * TRAIN_SEED + step, RICH), 64).images.to(self.vqvae.device)
        decoded = self.vqvae(images)
        error = 2 * (decoded.sample.float() - images)
        loss = error.square().mean() + 0.1 * error.abs().mean() + self.commitment * decoded.commit_loss.mean()
        return loss, {"psnr": psnr_of(error), "commit": decoded.commit_loss.detach().mean()}

    def export(self, folder: Path) -> None:
        """Write a VQModel folder (float16 safetensors)."""
        self.vqvae.half().save_pretrained(folder, safe_serialization=True)
        self.vqvae.float()


class MiniBitwiseTokenizer:
    """Objective: pictures from a pyramid of bits, straight through, with a commitment of features to their sums.

    For the first ``latent_steps`` only the layers between mini-vae's latents and the bits learn, from latents that are computed
    once, which costs a tenth; then all of it learns from pictures.
    """

    batch = 16
    latent_batch = 32
    latent_steps = 2500
    commitment = 0.1
    bits = 10

    def __init__(self, vae: AutoencoderKL, scenes: int = 4000) -> None:
        config = vae.config
        self.autoencoder = BitwiseTokenizer(
            bits=self.bits, block_out_channels=config.block_out_channels, latent_channels=config.latent_channels,
            norm_num_groups=config.norm_num_groups,
        )  # fmt: skip
        inherit(vae, self.autoencoder.encoder, self.autoencoder.decoder)
        latents = latents_of(vae, scenes)
        std, mean = torch.std_mean(latents, (0, 2, 3))
        with torch.no_grad():
            follow(self.autoencoder.encoder.conv_out, torch.diag(1 / std), -mean / std)
            last = self.autoencoder.from_features[-1]
            follow(last, torch.diag(std), mean)
            follow(last, *matrix_of(vae.post_quant_conv))
            self.wanted = vae.post_quant_conv(latents)
        self.spread = self.wanted.std((0, 2, 3))[:, None, None]
        self.latents = (latents - mean[:, None, None]) / std[:, None, None]
        self.modules: dict[str, nn.Module] = {"autoencoder": self.autoencoder}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        net, device = self.autoencoder, self.autoencoder.device
        if step < self.latent_steps:
            index = torch.randint(len(self.latents), (self.latent_batch,), generator=generator)
            clean, features = self.wanted[index].to(device), net.to_features(self.latents[index].to(device))
        else:
            clean = render(sample_scenes(self.batch, 4 * TRAIN_SEED + step, RICH), 64).images.to(device)
            features = net.encode(clean)
        total = net.quantize(features)[1][-1]
        straight = total + features - features.detach()
        commitment = (features - total.detach()).square().mean() + (features.detach() - total).square().mean()
        if step < self.latent_steps:
            error = ((net.from_features(straight) - clean) / self.spread.to(device)).square().mean()
            return error + self.commitment * commitment, {"psnr": torch.zeros(()), "commit": commitment.detach()}
        error = 2 * (net.decode(straight).float() - clean)
        # Squared error of pictures is some thirty times smaller than of latents.
        loss = error.square().mean() + 0.1 * error.abs().mean() + self.commitment / 30 * commitment
        return loss, {"psnr": psnr_of(error), "commit": commitment.detach()}

    def export(self, folder: Path) -> None:
        """Write a BitwiseTokenizer folder (float16 safetensors)."""
        self.autoencoder.half().save_pretrained(folder, safe_serialization=True)
        self.autoencoder.float()


def latents_of(vae: AutoencoderKL, scenes: int) -> Tensor:
    """mini-vae's latents (N, 4, 16, 16) of training scenes, unscaled, float32."""
    drawn = sample_scenes(scenes, TRAIN_SEED, RICH)
    return encode_with(lambda images: vae.encode(images * 2 - 1).latent_dist.mean, drawn).latents


def centres(latents: Tensor, codes: int) -> Tensor:
    """The ``codes`` centres (codes, C) of a k-means over the cells of (N, C, h, w)."""
    from sklearn.cluster import MiniBatchKMeans

    cells = latents.movedim(1, -1).flatten(0, -2)
    found = MiniBatchKMeans(codes, batch_size=4096, n_init=1, max_iter=40, random_state=0).fit(cells.numpy())
    return torch.tensor(found.cluster_centers_, dtype=torch.float32)


@torch.no_grad()
def inherit(vae: AutoencoderKL, encoder: nn.Module, decoder: nn.Module) -> None:
    """Copy an AutoencoderKL's weights; the encoder gives posterior means, the decoder takes what follows ``post_quant_conv``."""
    channels = vae.config.latent_channels
    found = vae.encoder.state_dict()
    mix, shift = matrix_of(vae.quant_conv)
    found["conv_out.weight"] = torch.einsum("oi,ichw->ochw", mix[:channels], found["conv_out.weight"])
    found["conv_out.bias"] = mix[:channels] @ found["conv_out.bias"] + shift[:channels]
    encoder.load_state_dict(found)
    decoder.load_state_dict(vae.decoder.state_dict())


def matrix_of(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution as a matrix (out, in) and a shift (out,)."""
    assert conv.bias is not None
    return conv.weight[:, :, 0, 0], conv.bias


def set_matrix(conv: nn.Conv2d, matrix: Tensor, shift: Tensor) -> None:
    """Let a 1x1 convolution be x -> matrix x + shift."""
    conv.weight.copy_(matrix[..., None, None])
    conv.bias.copy_(shift)


def follow(conv: nn.Conv2d, matrix: Tensor, shift: Tensor) -> None:
    """Let a convolution's output y become matrix y + shift."""
    conv.weight.copy_(torch.einsum("oi,ichw->ochw", matrix, conv.weight))
    conv.bias.copy_(matrix @ conv.bias + shift)
