"""mini-pixel: an unconditional UNet on pixels (DDPM), 32 x 32, on tabletop pictures and crops of photographs."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.process.sampling import stratified
from diffolio.worlds.photos import crops
from diffolio.worlds.tabletop import render, sample_scenes

SIZE = 32


def pictures(n: int, seed: int, split: str = "train") -> Tensor:
    """Tabletop pictures and crops of photographs, half of each, shuffled: (n, 3, 32, 32) in [0, 1]."""
    scenes = sample_scenes(n - n // 2, seed)
    drawn = [render(scenes[i : i + 256], SIZE).images for i in range(0, len(scenes), 256)]
    both = torch.cat([*drawn, crops(SIZE, n // 2, seed, split=split).images])
    return both[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]


class MiniPixel:
    """Objective: v-prediction (Salimans & Ho, 2022, appendix D) of pixels in [-1, 1] on the cosine schedule, times stratified.

    Its error counts as much at every noise level as the clean picture's and the noise's together: a network that predicts noise
    is hardly asked about a picture's mean colour, which is settled where nearly all is noise, and tints whole pictures.
    """

    batch = 16

    def __init__(self, n: int = 40_000) -> None:
        from diffusers import DDPMScheduler, UNet2DModel

        self.unet = UNet2DModel(
            sample_size=SIZE,
            in_channels=3,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=(32, 64, 96),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            attention_head_dim=32,
            norm_num_groups=16,
        )
        self.scheduler = DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            clip_sample=True,
            timestep_spacing="trailing",  # few steps, too, start where all is noise: leading ones draw too dark
        )
        self.data = (pictures(n, TRAIN_SEED * 11) * 255).round().byte() if n else None
        self.modules: dict[str, nn.Module] = {"unet": self.unet}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        assert self.data is not None
        device = self.unet.device
        index = torch.randint(len(self.data), (self.batch,), generator=generator)
        clean = self.data[index].to(device).float() / 127.5 - 1
        noise = torch.randn(clean.shape, generator=generator).to(device)
        steps = self.scheduler.config.num_train_timesteps
        t = (stratified(self.batch, generator) * steps).long().clamp_max(steps - 1).to(device)
        predicted = self.unet(self.scheduler.add_noise(clean, noise, t), t).sample
        return F.mse_loss(predicted.float(), self.scheduler.get_velocity(clean, noise, t)), {}

    def export(self, folder: Path) -> None:
        """Write a DDPMPipeline folder (float16 safetensors)."""
        from diffusers import DDPMPipeline

        pipeline = DDPMPipeline(self.unet, self.scheduler)
        pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
        pipeline.to(torch.float32)
