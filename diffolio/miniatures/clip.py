"""mini-clip: a CLIPModel trained contrastively on the tabletop world, in two independently seeded copies."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from diffolio.miniatures.text import text_config, token_ids, tokenizer
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.worlds.tabletop import Mixture, render, sample_scenes

MEAN, STD = 0.5, 0.5  # of the image processor: [0, 1] -> [-1, 1]


class MiniCLIP:
    """Objective: the symmetric contrastive loss of CLIP (Radford et al., 2021).

    Images are seen clean, blurred and noised, so that scores of imperfect samples stay meaningful. The copies "a" and "b"
    differ in initial weights and in every training scene: one may condition or reward, the other judges.
    """

    batch = 64

    def __init__(self, copy: str = "a") -> None:
        from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig

        self.copy = copy
        self.seed = TRAIN_SEED * (2 + "ab".index(copy))
        self.tokenizer = tokenizer()
        vision = CLIPVisionConfig(
            hidden_size=96, intermediate_size=384, projection_dim=64, num_hidden_layers=4, num_attention_heads=4,
            image_size=64, patch_size=8,
        )  # fmt: skip
        text = text_config(self.tokenizer, width=96, layers=3)
        config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=64)
        torch.manual_seed(self.seed)
        self.clip = CLIPModel(config)
        self.modules: dict[str, nn.Module] = {"clip": self.clip}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        scenes = sample_scenes(self.batch, self.seed + step, Mixture(counts=(0.4, 0.5, 0.1)))
        images = degrade(render(scenes, 64).images, generator)
        tokens = token_ids(self.tokenizer, [scene.caption for scene in scenes])
        device = self.clip.device
        out = self.clip(input_ids=tokens.to(device), pixel_values=(images.to(device) - MEAN) / STD)
        logits = out.logits_per_image.float()
        target = torch.arange(len(logits), device=device)
        loss = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
        return loss, {"retrieval": (logits.argmax(1) == target).float().mean()}

    def export(self, folder: Path) -> None:
        """Write CLIPModel, CLIPTokenizer and CLIPImageProcessor files (float16)."""
        from transformers import CLIPImageProcessorPil

        self.clip.half().save_pretrained(folder, safe_serialization=True)
        self.clip.float()
        self.tokenizer.save_pretrained(folder)
        CLIPImageProcessorPil(
            size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64}, image_mean=[MEAN] * 3, image_std=[STD] * 3
        ).save_pretrained(folder)


def degrade(images: Tensor, generator: torch.Generator) -> Tensor:
    """A third of the batch blurred, a third noised, the rest as it is. (B, 3, H, W) in [0, 1] -> same."""
    third = len(images) // 3
    blurred = nn.functional.avg_pool2d(images[:third], 3, 1, 1, count_include_pad=False)
    noised = images[third : 2 * third] + 0.06 * torch.randn(images[third : 2 * third].shape, generator=generator)
    return torch.cat([blurred, noised.clamp(0, 1), images[2 * third :]])
