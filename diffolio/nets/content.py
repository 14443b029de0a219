"""Conditions without a place: an embedding as tokens beside the text's, and named numbers in the time embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput


class ContentTokens(nn.Module):
    """An embedding (B, content) of a picture, such as CLIP's, -> tokens (B, n, width) to stand behind the text's.

    LayerNorm, feed-forward to 2 x content, LayerNorm, feed-forward to n x width: the global adapter of Uni-ControlNet (Zhao et al.,
    2023, arXiv:2305.16322) and CRS-Diff (arXiv:2403.11614), where content and width are 768 and n is 4.
    """

    def __init__(self, content: int, width: int, tokens: int = 4) -> None:
        super().__init__()
        from diffusers.models.attention import FeedForward

        self.content, self.tokens = content, tokens
        self.layers = nn.Sequential(
            nn.LayerNorm(content), FeedForward(content, 2 * content, activation_fn="geglu"),
            nn.LayerNorm(2 * content), FeedForward(2 * content, tokens * width, activation_fn="geglu"),
        )  # fmt: skip

    def forward(self, embedding: Tensor) -> Tensor:
        if embedding.dim() != 2 or embedding.shape[1] != self.content:
            raise BadInput(f"a content embedding of shape {tuple(embedding.shape)}: this adapter takes (B, {self.content})")
        return self.layers(embedding).unflatten(1, (self.tokens, -1))  # type: ignore[no-any-return]


class NamedNumbers(nn.Module):
    """Numbers in [0, 1] by name, (B, fields) -> a vector (B, width) for the time embedding, zero before training.

    Each number times 1000 through sinusoids, like a timestep, and its own linear layer; the sum over fields (CRS-Diff,
    arXiv:2403.11614, after SatMAE and DiffusionSat). ``sinusoid`` is 320 there.
    """

    def __init__(self, fields: Sequence[str], width: int, sinusoid: int = 320) -> None:
        super().__init__()
        from diffusers.models.embeddings import Timesteps

        self.fields = tuple(fields)
        self.sinusoids = Timesteps(sinusoid, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.layers = nn.ModuleList(nn.Linear(sinusoid, width) for _ in self.fields)
        for parameter in self.layers.parameters():
            nn.init.zeros_(parameter)

    def forward(self, numbers: Tensor) -> Tensor:
        if numbers.dim() != 2 or numbers.shape[1] != len(self.fields):
            raise BadInput(f"numbers of shape {tuple(numbers.shape)}: give (B, {len(self.fields)}) for {', '.join(self.fields)}")
        if not bool(((numbers >= 0) & (numbers <= 1)).all()):
            low, high = float(numbers.min()), float(numbers.max())
            raise BadInput(f"metadata from {low:g} to {high:g}: bring each field to [0, 1] first")
        embedded = [layer(self.sinusoids(n * 1000).to(layer.weight)) for n, layer in zip(numbers.T, self.layers, strict=True)]
        return torch.stack(embedded).sum(0)
