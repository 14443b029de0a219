"""A trained judge: one copy of mini-clip, as features, as image-text score."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer


class Judge:
    """CLIP embeddings of pictures (B, 3, H, W) in [0, 1] and of texts. Gradients reach the pictures when asked for.

    The bundled copies "a" and "b" are trained from different seeds on different scenes: what copy "a" conditions or rewards,
    copy "b" judges.
    """

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer, mean: float = 0.5, std: float = 0.5) -> None:
        self.model, self.tokenizer, self.mean, self.std = model.eval().requires_grad_(False), tokenizer, mean, std

    @classmethod
    def load(cls, copy: str = "b") -> Judge:
        """The bundled copy "a" or "b"."""
        if copy not in ("a", "b"):
            raise BadInput(f"judge copy {copy!r}: there are 'a' and 'b'")
        return _load(copy)

    def features(self, images: Tensor) -> Tensor:
        """Unit image embeddings (B, D); pictures are resized to the judge's size."""
        size = self.model.config.vision_config.image_size
        if images.shape[-2:] != (size, size):
            images = nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
        pooled = self.model.vision_model(pixel_values=(images - self.mean) / self.std).pooler_output
        return nn.functional.normalize(self.model.visual_projection(pooled), dim=-1)

    def text(self, prompts: list[str]) -> Tensor:
        """Unit text embeddings (B, D)."""
        tokens = self.tokenizer(
            prompts, padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        pooled = self.model.text_model(input_ids=tokens.input_ids).pooler_output
        return nn.functional.normalize(self.model.text_projection(pooled), dim=-1)

    def score(self, images: Tensor, prompts: list[str]) -> Tensor:
        """Scaled cosine of each picture with its prompt (B,), CLIP's logit."""
        return (self.features(images) * self.text(prompts)).sum(-1) * self.model.logit_scale.exp()

    def distance(self, images: Tensor, references: Tensor) -> Tensor:
        """One minus the cosine of the image embeddings (B,)."""
        return 1 - (self.features(images) * self.features(references)).sum(-1)


@functools.cache
def _load(copy: str) -> Judge:
    from transformers import CLIPModel, CLIPTokenizer

    from diffolio import miniatures
    from diffolio.models.loading import quiet

    folder: Path = miniatures.folder(f"mini-clip-{copy}")
    with quiet():
        return Judge(CLIPModel.from_pretrained(folder, dtype=torch.float32), CLIPTokenizer.from_pretrained(folder))
