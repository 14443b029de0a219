"""What a layout says beyond its regions: how it reads together with a caption, and how like a place is to its surroundings.

Both are EOCNet's (Wang, Zhou, Xu, 2023, arXiv:2311.10522) and change nothing until they are trained: each has a gate that
starts closed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.nets.condition_encoders import zero_convolution


class LayoutFusion(nn.Module):
    """A label map as one channel, read together with text: one transformer block between two 1x1 convolutions, the last of them zero.

    ``width`` is the block's, ``text_width`` that of the text states. The gate (a scalar, 0 at first) is outside of what is returned.
    """

    def __init__(self, width: int, heads: int, text_width: int, groups: int) -> None:
        super().__init__()
        from diffusers.models.attention import BasicTransformerBlock

        self.proj_in = nn.Conv2d(1, width, 1)
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.block = BasicTransformerBlock(width, heads, width // heads, cross_attention_dim=text_width)
        self.proj_out = zero_convolution(width, 1)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, layout: Tensor, text: Tensor) -> Tensor:
        """``layout`` (B, 1, h, w) in [0, 1], ``text`` (B, L, D) -> (B, 1, h, w)."""
        x = self.norm(self.proj_in(layout))
        cells = self.block(x.flatten(2).transpose(1, 2), encoder_hidden_states=text)
        return layout + self.proj_out(cells.transpose(1, 2).reshape(x.shape))


class SelfSimilarityAttention(nn.Module):
    """Attention over ``tokens`` text tokens whose weights come from how like each query is to those around it, not from the keys."""

    def __init__(self, tokens: int, window: int = 5) -> None:
        super().__init__()
        self.window = window
        self.conv1 = nn.Conv2d(window**2, 2 * tokens, 3, padding=1)
        self.conv2 = nn.Conv2d(2 * tokens, tokens, 3, padding=1)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, query: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
        """``query`` (B, heads, h * w, d), ``value`` (B, heads, tokens, d) -> (B, heads, h * w, d), without the gate."""
        batch, heads = query.shape[:2]
        if value.shape[2] != self.conv2.out_channels:
            raise BadInput(
                f"{value.shape[2]} text tokens: this self-similarity attention was made for {self.conv2.out_channels}; leave out "
                "what adds tokens, or train it for that length"
            )
        maps = query.flatten(0, 1).transpose(1, 2).reshape(batch * heads, -1, *grid)
        found = self_similarity(maps.to(self.conv1.weight), self.window)
        weights = F.relu(self.conv2(F.relu(self.conv1(found)))).flatten(2).transpose(1, 2).softmax(-1)
        return weights.unflatten(0, (batch, heads)).to(value) @ value


def self_similarity(x: Tensor, window: int = 5) -> Tensor:
    """Cosine of each place's vector with each of the ``window``^2 around it: (B, C, h, w) -> (B, window^2, h, w), 0 beyond the border.

    Channel window * i + j is the neighbour i - window // 2 columns to the right and j - window // 2 rows below.
    """
    if window % 2 == 0 or window < 1:
        raise BadInput(f"window {window}: give an odd number of cells")
    half, (h, w) = window // 2, x.shape[-2:]
    x = F.normalize(x, dim=1)
    padded = F.pad(x, (half,) * 4)
    shifts = [padded[..., j : j + h, i : i + w] for i in range(window) for j in range(window)]
    return torch.stack([(shifted * x).sum(1) for shifted in shifts], dim=1)
