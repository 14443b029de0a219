"""Layers of one picture that know of each other: attention over the layer axis, prompts that read the whole, and which layer this is.

All three are LayerDiff's (Huang et al., 2024, arXiv:2403.11929) and change nothing until they are trained: what each adds comes
out of a weight that starts at zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.errors import BadInput


class InterLayerAttention(nn.Module):
    """At each place every layer attends to what all layers, itself included, have there, and to the global prompt.

    ``window`` is the side of the neighbourhood that is looked at in each layer, 1 for the same place alone. Layers are a set: permuting
    them permutes the outcome.
    """

    def __init__(self, width: int, heads: int, text_width: int, window: int = 1) -> None:
        super().__init__()
        if window % 2 == 0 or window < 1 or width % heads:
            raise BadInput(
                f"window {window}, width {width} for {heads} heads: give an odd window and a width that the heads divide"
            )
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.text_k, self.text_v = (nn.Linear(text_width, width, bias=False) for _ in range(2))
        self.to_out = zero_linear(width)

    def forward(self, x: Tensor, text: Tensor | None = None, grid: tuple[int, int] | None = None) -> Tensor:
        """``x`` (B, L, h * w, C), ``text`` (B, S, D) -> what is to be added to ``x``. ``grid`` (h, w) is needed for a window above 1."""
        normed = self.norm(x)
        q = self._heads(self.to_q(normed)).permute(0, 3, 2, 1, 4)  # (B, heads, h * w, L, d)
        k, v = (self._neighbours(to(normed), grid) for to in (self.to_k, self.to_v))
        scale, keys = q.shape[-1] ** -0.5, k.shape[3]
        logits = q @ k.transpose(-1, -2) * scale
        if text is not None:
            told, say = (to(text).unflatten(-1, (self.heads, -1)).transpose(1, 2) for to in (self.text_k, self.text_v))
            spoken = (
                q.flatten(2, 3) @ told.transpose(-1, -2) * scale
            )  # (B, heads, h * w * L, S): the keys are one set for all places
            logits = torch.cat([logits, spoken.unflatten(2, q.shape[2:4])], -1)
        weights = logits.softmax(-1)
        found = weights[..., :keys] @ v
        if text is not None:
            found = found + (weights[..., keys:].flatten(2, 3) @ say).unflatten(2, q.shape[2:4])
        return self.to_out(found.permute(0, 3, 2, 1, 4).flatten(-2))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def _neighbours(self, x: Tensor, grid: tuple[int, int] | None) -> Tensor:
        """(B, L, h * w, C) -> keys or values of each place, (B, heads, h * w, L * window^2, d). The border is repeated."""
        if self.window == 1:
            return self._heads(x).permute(0, 3, 2, 1, 4)
        if grid is None or grid[0] * grid[1] != x.shape[2]:
            raise BadInput(f"{x.shape[2]} places on a grid {grid}: a window of {self.window} needs to know where they stand")
        batch, layers, places, width = x.shape
        maps = x.flatten(0, 1).transpose(1, 2).unflatten(2, grid)
        around = F.unfold(F.pad(maps, (self.window // 2,) * 4, mode="replicate"), self.window)
        around = around.view(batch, layers, self.heads, width // self.heads, self.window**2, places)
        return around.permute(0, 2, 5, 1, 4, 3).flatten(3, 4)


class PromptEnhancer(nn.Module):
    """The tokens of a layer's prompt read those of the global prompt, so that "a ball" learns that it is the red one on the left."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads if width % heads == 0 else 1
        self.norm, self.global_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.to_out = zero_linear(width)

    def forward(self, layer: Tensor, whole: Tensor) -> Tensor:
        """``layer`` (B, L, S, D) and ``whole`` (B, S', D) -> (B, L, S, D)."""
        own, other = self.norm(layer.flatten(1, 2)), self.global_norm(whole)
        parts = (to(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for to, x in
                 ((self.to_q, own), (self.to_k, other), (self.to_v, other)))  # fmt: skip
        # Spelled out: the attention seam's kernel belongs to the denoiser.
        q, k, v = parts
        found = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v
        return layer + self.to_out(found.transpose(1, 2).flatten(-2)).view_as(layer)  # type: ignore[no-any-return]


class LayerEmbedding(nn.Module):
    """What the time embedding is told of a layer: which it is from the back, and whether it is the background (the first)."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.index = nn.Embedding(layers, width)
        self.background = nn.Parameter(torch.zeros(width))
        nn.init.zeros_(self.index.weight)

    def forward(self, layers: int) -> Tensor:
        """(L, width)."""
        if layers > self.index.num_embeddings:
            raise BadInput(f"{layers} layers: this embedding knows {self.index.num_embeddings}")
        vectors = self.index.weight[:layers]
        return vectors + nn.functional.one_hot(torch.zeros(1, dtype=torch.long), layers).to(vectors).T * self.background


def zero_linear(width: int) -> nn.Linear:
    """A linear layer that gives zero before it is trained."""
    layer = nn.Linear(width, width)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
