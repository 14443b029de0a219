"""A discriminator that looks through a frozen, trained pair of eyes: small heads on several levels of its features.

Projected GANs (Sauer et al., 2021, arXiv:2111.01007) and Vision-aided GAN (Kumari et al., 2022, arXiv:2112.09130): features of a
network that knows pictures tell real from made early in training, where a discriminator from nothing overfits.

The backbone is anything that maps pictures (B, 3, H, W) in [0, 1] to a list of features (B, C, h, w), frozen and differentiable
in the pictures. :class:`VisionFeatures` makes one of any CLIPVisionModel-like tower of transformers (CLIP, SigLIP, DINOv2):

    tower = CLIPVisionModel.from_pretrained("openai/clip-vit-base-patch32")
    judge = FeatureDiscriminator(VisionFeatures(tower, mean=CLIP_MEAN, std=CLIP_STD))

``training.gan.bundled_discriminator`` has the bundled mini-clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from diffolio.errors import BadInput

Backbone = Callable[[Tensor], Sequence[Tensor]]
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class VisionFeatures:
    """Hidden states of a vision transformer as maps: of the blocks ``layers`` (every one from the middle on if None).

    ``tower(pixel_values=..., output_hidden_states=True)`` must give hidden states (B, tokens, C) whose last tokens are the
    patches row by row. Pictures are resized to its size and normalised with its ``mean`` and ``std``. Frozen here.
    """

    def __init__(
        self,
        tower: Any,
        layers: Sequence[int] | None = None,
        mean: Sequence[float] | float = 0.5,
        std: Sequence[float] | float = 0.5,
    ) -> None:
        self.tower = tower.eval().requires_grad_(False)
        config = tower.config
        self.size, self.grid = int(config.image_size), int(config.image_size) // int(config.patch_size)
        depth = int(config.num_hidden_layers)
        self.layers = tuple(range((depth + 1) // 2, depth + 1) if layers is None else layers)
        if strange := [layer for layer in self.layers if not 0 <= layer <= depth]:
            raise BadInput(f"layers {strange} of a tower with {depth} blocks: give 0 (its embeddings) to {depth}")
        self.mean, self.std = (torch.as_tensor(value, dtype=torch.float32).reshape(1, -1, 1, 1) for value in (mean, std))

    def __call__(self, images: Tensor) -> list[Tensor]:
        if images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        states = self.tower(
            pixel_values=(images - self.mean.to(images)) / self.std.to(images), output_hidden_states=True
        ).hidden_states
        patches = [states[layer][:, -(self.grid**2) :] for layer in self.layers]
        return [x.transpose(1, 2).unflatten(2, (self.grid, self.grid)) for x in patches]


class FeatureDiscriminator(nn.Module):
    """Logits of one head a level, each (B, 1, h, w): what ``process.adversarial`` takes. Only the heads have weights here.

    A head is a 1x1 convolution to ``width``, a 3x3 convolution and a 1x1 to one logit, spectrally normalised. ``probe`` is the
    side of the grey picture on which the features' widths are read. One discriminator belongs to one domain.
    """

    def __init__(self, backbone: Backbone, width: int = 64, probe: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.backbone = [backbone]  # in a list: its weights are not the discriminator's, and are not saved with it
        with torch.no_grad():
            found = backbone(torch.full((1, 3, probe, probe), 0.5))
        if not found or any(not isinstance(x, Tensor) or x.dim() != 4 for x in found):
            raise BadInput("the backbone must give a list of features (B, C, h, w) for pictures (B, 3, H, W) in [0, 1]")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.heads = nn.ModuleList(_head(x.shape[1], width) for x in found)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Gradients reach the pictures, so that a generator can be trained, and the heads, never the backbone."""
        return [head(x) for head, x in zip(self.heads, self.backbone[0](images), strict=True)]


def _head(channels: int, width: int) -> nn.Sequential:
    layers = (nn.Conv2d(channels, width, 1), nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 1, 1))
    first, second, last = (spectral_norm(layer) for layer in layers)
    return nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2), last)
