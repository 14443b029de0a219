"""A latent reward: a CLIP whose image tower reads latents, so that a text-image score costs no decoding.

RG-LCD (Li et al., 2024, arXiv:2403.11027) optimises such a *latent proxy reward model* in place of the expert that looks at
pixels. The released latent ViT: 64 x 64 x 4 latents, patch 4, width 512, 12 layers, embedding 1024, with the text tower of
CLIP ViT-H. Here both towers are a ``transformers.CLIPModel`` of any size; the text tower can start as a pipeline's own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput

if TYPE_CHECKING:
    from transformers import CLIPTextModel


class LatentReward(nn.Module):
    """Scores latents (B, C, h, w), scaled as the denoiser sees them, against captions.

    ``tokenizer`` is a CLIPTokenizer; ``text`` a CLIPTextModel that the text tower starts as (copied). ``size`` is h = w.
    """

    def __init__(
        self, tokenizer: Any, text: CLIPTextModel, channels: int = 4, size: int = 16, patch: int = 2, width: int = 96,
        layers: int = 4, heads: int = 4, embedding: int = 64,
    ) -> None:  # fmt: skip
        from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig

        super().__init__()
        if size % patch:
            raise BadInput(f"latents of {size} cells do not divide into patches of {patch}: give a patch that does")
        vision = CLIPVisionConfig(
            num_channels=channels, image_size=size, patch_size=patch, hidden_size=width, intermediate_size=4 * width,
            num_hidden_layers=layers, num_attention_heads=heads, projection_dim=embedding,
        )  # fmt: skip
        config = CLIPConfig(text_config=text.config.to_dict(), vision_config=vision.to_dict(), projection_dim=embedding)
        self.clip = CLIPModel(config)
        own = self.clip.text_model
        own.load_state_dict(copy.deepcopy(text.state_dict()))
        self.tokenizer = tokenizer

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Token ids (B, L)."""
        made = self.tokenizer(
            list(captions), padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        return made.input_ids.to(self.clip.logit_scale.device)

    def embed_latents(self, latents: Tensor) -> Tensor:
        """Unit embeddings (B, D)."""
        pooled = self.clip.vision_model(pixel_values=latents).pooler_output
        return nn.functional.normalize(self.clip.visual_projection(pooled), dim=-1)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Unit embeddings (B, D)."""
        pooled = self.clip.text_model(input_ids=self.tokens(captions)).pooler_output
        return nn.functional.normalize(self.clip.text_projection(pooled), dim=-1)

    def forward(self, latents: Tensor, captions: Sequence[str]) -> Tensor:
        """The cosine of each latent with its caption (B,), the reward that a student maximises."""
        return (self.embed_latents(latents) * self.embed_text(captions)).sum(-1)

    @property
    def scale(self) -> Tensor:
        """CLIP's logit scale: cosines times this are logits."""
        return self.clip.logit_scale.exp()

    def contrastive(self, latents: Tensor, captions: Sequence[str]) -> tuple[Tensor, float]:
        """CLIP's symmetric loss over the batch, and the share of latents whose own caption ranks first (equal captions tie)."""
        logits = self.embed_latents(latents) @ self.embed_text(captions).T * self.scale
        target = torch.arange(len(logits), device=logits.device)
        loss = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
        return loss, float((logits.diagonal() >= logits.amax(1)).float().mean())

    def tail(self, text_layers: int = 5) -> list[nn.Parameter]:
        """What stays trainable beside a student: the last image block with its norm and projection, the last
        ``text_layers`` text blocks with theirs, and the logit scale (as the released code unlocks them)."""
        image, text = self.clip.vision_model, self.clip.text_model
        parts: list[nn.Module] = [
            image.encoder.layers[-1], image.post_layernorm, self.clip.visual_projection,
            *list(text.encoder.layers)[-text_layers:], text.final_layer_norm, self.clip.text_projection,
        ]  # fmt: skip
        return [*(parameter for part in parts for parameter in part.parameters()), self.clip.logit_scale]


class ContrastiveLatents:
    """Objective that pretrains a :class:`LatentReward` on (latents, captions) pairs, lightly noised.

    Students hand in imperfect latents; a little noise in half of the batch keeps the score smooth around clean ones. [design]
    """

    def __init__(self, reward: LatentReward, data: Any, batch: int = 48, noise: float = 0.15) -> None:
        self.reward, self.data, self.batch, self.noise = reward, data, batch, noise
        self.modules: dict[str, nn.Module] = {"proxy": reward}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        latents, captions = self.data.draw(self.batch, generator)
        strength = self.noise * (torch.rand(len(latents), 1, 1, 1, generator=generator) - 0.5).clamp_min(0) * 2
        latents = latents + strength * torch.randn(latents.shape, generator=generator)
        loss, retrieval = self.reward.contrastive(latents.to(self.reward.scale.device), captions)
        return loss, {"retrieval": retrieval}


def save_reward(reward: LatentReward, path: Path) -> None:
    """float32 safetensors: training goes on from them."""
    from safetensors.torch import save_file

    partial = path.with_suffix(".partial")
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in reward.state_dict().items()}, partial)
    partial.replace(path)


def load_reward(reward: LatentReward, path: Path) -> LatentReward:
    from safetensors.torch import load_file

    reward.load_state_dict(load_file(path))
    return reward
