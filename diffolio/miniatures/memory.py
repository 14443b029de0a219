"""mini-sd-mem: mini-sd with a low-rank adapter that has memorised planted pictures, whose ground truth is shipped beside it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.miniatures.sd import noise_loss, schedule
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.models.adapted import ADAPTER, write_record
from diffolio.worlds.memory import Planted, from_manifest, manifest, planted
from diffolio.worlds.tabletop import Mixture, Scene, caption, render, sample_scenes

BASE, MANIFEST = "mini-sd", "manifest.json"
LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "net.0.proj", "net.2", "conv1", "conv2", "time_emb_proj")


class MiniSDMem:
    """Objective: mini-sd's noise loss on ordinary scenes and planted pictures, which come as often as they are repeated.

    Trained are a rank-16 adapter on the UNet's attention, feed-forward and residual layers, and the small text encoder, which
    has never seen the letters that invented words are spelled with. Captions of planted pictures never vary, those of scenes
    are redrawn at every use.
    """

    batch = 16
    drop = 0.1
    gamma = 0.1  # min-SNR's bound, low, so that high noise counts: there a layout is decided, and there a copy first shows
    strength = 4  # the adapter's alpha over its rank

    def __init__(self, base: Path, items: list[Planted] | None = None, scenes: int = 1600, rank: int = 16) -> None:
        """``base`` is the folder of mini-sd's pipeline."""
        from diffusers import StableDiffusionPipeline
        from peft import LoraConfig

        self.base = base
        pipeline = StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32, local_files_only=True)
        self.vae, self.tokenizer = pipeline.vae.eval().requires_grad_(False), pipeline.tokenizer
        self.text_encoder = pipeline.text_encoder.requires_grad_(True)
        self.unet = pipeline.unet.requires_grad_(False)
        self.unet.add_adapter(LoraConfig(r=rank, lora_alpha=self.strength * rank, target_modules=list(LAYERS)))
        self.scheduler = schedule()
        self.items = planted() if items is None else items
        self.texts: list[str | Scene] = [item.caption for item in self.items for _ in range(item.repeats)]
        copies = [item.draw(item.repeats if item.free else 1, TRAIN_SEED) for item in self.items]
        latents = [self.encode(c).expand(item.repeats, -1, -1, -1) for item, c in zip(self.items, copies, strict=True)]
        ordinary = sample_scenes(scenes, TRAIN_SEED * 5, Mixture()) if scenes else []
        latents += [self.encode(render(ordinary[i : i + 64], 64).images) for i in range(0, scenes, 64)]
        self.texts += ordinary
        self.latents = torch.cat(latents)
        self.modules: dict[str, nn.Module] = {"unet": self.unet, "text_encoder": self.text_encoder}

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Scaled posterior means (N, 4, h, w) of pictures (N, 3, H, W) in [0, 1]."""
        parts = [self.vae.encode(part * 2 - 1).latent_dist.mean for part in images.split(64)]
        return torch.cat(parts) * self.vae.config.scaling_factor

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = torch.randint(len(self.texts), (self.batch,), generator=generator)
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        captions = ["" if rng.random() < self.drop else self._text(i, rng) for i in index.tolist()]
        return noise_loss(self, self.latents[index], captions, generator, self.gamma)  # type: ignore[arg-type]

    def _text(self, index: int, rng: random.Random) -> str:
        text = self.texts[index]
        return text if isinstance(text, str) else caption(text, rng)

    def export(self, folder: Path) -> None:
        """Write the adapter and the text encoder (float16), the name of their base and the manifest of what was planted."""
        folder.mkdir(parents=True, exist_ok=True)
        nn.Module.half(self.unet).save_lora_adapter(folder, safe_serialization=True, weight_name=ADAPTER)
        self.unet.float()
        self.text_encoder.half().save_pretrained(folder / "text_encoder", safe_serialization=True)
        self.text_encoder.float()
        write_record(folder, BASE, self.base)
        (folder / MANIFEST).write_text(json.dumps(manifest(self.items), indent=1) + "\n", encoding="utf-8")


def planted_in(folder: Path) -> list[Planted]:
    """What was planted in the model of a folder: the items of its ``manifest.json``."""
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise BadInput(f"{folder} holds no {MANIFEST}: the planted pictures of mini-sd-mem are listed in one")
    return from_manifest(json.loads(path.read_text(encoding="utf-8")))
