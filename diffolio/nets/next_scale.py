"""A next-scale transformer over a pyramid of bits, conditioned on text.

VAR (Tian et al., 2024, arXiv:2404.02905, section 3.2) predicts all tokens of one scale at once from the scales before; Infinity (Han et
al., 2024, arXiv:2412.04431, sections 3.1 and 3.2) conditions it on text and gives each token d binary classifiers in place of one over
2^d entries:

    p(R_1..R_K | text) = prod_k p(R_k | R_1..R_{k-1}, text),    input of scale k: down(F_{k-1}, s_k), of the first: the pooled text

Attention is block-causal: a token sees its own scale and all before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from diffolio.nets.bitwise import downsample


class NextScaleTransformer(ModelMixin, ConfigMixin):
    """Logits of the bits of each scale, (B, d, s_k, s_k), from text and from what the scales before add up to.

    ``patches`` are cells a side that share one token of the transformer, per scale: the bits of a scale are predicted side by
    side anyway, and the finest scale would take three quarters of the computation.
    """

    @register_to_config
    def __init__(
        self,
        bits: int = 10,
        scales: Sequence[int] = (1, 2, 4, 8, 16),
        patches: Sequence[int] = (1, 1, 1, 1, 2),
        width: int = 128,
        layers: int = 6,
        heads: int = 4,
        text_width: int = 64,
        pooled_width: int = 64,
    ) -> None:
        from diffusers.models.attention import BasicTransformerBlock

        super().__init__()
        self.start = nn.Linear(pooled_width, width)
        sizes = [bits * patch**2 for patch in patches]
        self.read = nn.ModuleList(nn.Linear(size, width) for size in sizes[1:])
        self.places = nn.Parameter(torch.randn(sum(self.lengths), width) * 0.02)
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(
                width, heads, width // heads, cross_attention_dim=text_width, activation_fn="gelu-approximate", attention_bias=True,
                ff_inner_dim=3 * width,
            )
            for _ in range(layers)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width)
        self.to_bits = nn.ModuleList(nn.Linear(width, size) for size in sizes)

    @property
    def lengths(self) -> list[int]:
        """Transformer tokens per scale."""
        return [(side // patch) ** 2 for side, patch in zip(self.config.scales, self.config.patches, strict=True)]

    def forward(self, sums: Sequence[Tensor], states: Tensor, pooled: Tensor) -> list[Tensor]:
        """``sums`` are F_1..F_{k-1}, (B, d, s_K, s_K) each; ``states`` (B, L, text_width) and ``pooled`` (B, pooled_width) the text.

        Gives the logits of the scales 1..k.
        """
        parts = [self.start(pooled)[:, None]]
        for k, (total, read) in enumerate(zip(sums, self.read, strict=False), start=1):
            cells = F.pixel_unshuffle(downsample(total, self.config.scales[k]), self.config.patches[k])
            parts.append(read(cells.flatten(2).transpose(1, 2)))
        lengths = self.lengths[: len(parts)]
        x = torch.cat(parts, 1) + self.places[: sum(lengths)]
        bias = block_causal(lengths).to(x).expand(len(x), -1, -1)
        for block in self.blocks:
            x = block(x, attention_mask=bias, encoder_hidden_states=states)
        logits = []
        for k, part in enumerate(self.norm(x).split(lengths, 1)):
            patch, side = self.config.patches[k], math.isqrt(lengths[k])
            logits.append(F.pixel_shuffle(self.to_bits[k](part).transpose(1, 2).unflatten(2, (side, side)), patch))
        return logits


def block_causal(lengths: Sequence[int]) -> Tensor:
    """What is added to attention logits, (L, L): 0 where the key's scale is not after the query's, else minus infinity."""
    scale = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return torch.zeros(len(scale), len(scale)).masked_fill(scale[None, :] > scale[:, None], -math.inf)
