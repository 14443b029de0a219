"""Merging tokens into groups before a layer and handing each group's output back to its members afterwards.

Bipartite soft matching (Bolya et al., 2022, arXiv:2210.09461; for diffusion Bolya and Hoffman, 2023, arXiv:2303.17604): some
tokens are destinations, the others look up their most similar destination, and the best matched are averaged into it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Merging:
    """A partition of N tokens into K groups, per sample.

    ``heads`` (B, K): the token that stands for each group. ``members`` (B, N - K): all other tokens, and ``into`` (B, N - K):
    the group (0..K-1) that each belongs to.
    """

    heads: Tensor
    members: Tensor
    into: Tensor

    @property
    def kept(self) -> int:
        return self.heads.shape[1]

    @property
    def tokens(self) -> int:
        return self.heads.shape[1] + self.members.shape[1]

    def groups(self) -> Tensor:
        """The group of every token (B, N)."""
        order = torch.cat([self.heads, self.members], 1)
        own = torch.arange(self.kept, device=order.device).expand(len(order), -1)
        return torch.empty_like(order).scatter_(1, order, torch.cat([own, self.into], 1))

    def merge(self, x: Tensor) -> Tensor:
        """The mean of each group. (B, N, C) -> (B, K, C)."""
        wide = x.shape[-1]
        total = x.gather(1, self.heads[..., None].expand(-1, -1, wide))
        if self.members.shape[1] == 0:
            return total
        moved = x.gather(1, self.members[..., None].expand(-1, -1, wide))
        total = total.scatter_add(1, self.into[..., None].expand(-1, -1, wide), moved)
        count = torch.ones_like(self.heads, dtype=x.dtype).scatter_add_(1, self.into, torch.ones_like(self.into, dtype=x.dtype))
        return total / count[..., None]

    def unmerge(self, y: Tensor) -> Tensor:
        """Every member gets its group's value. (B, K, C) -> (B, N, C)."""
        return y.gather(1, self.groups()[..., None].expand(-1, -1, y.shape[-1]))

    def repeat(self, times: int) -> Merging:
        """The same partition for ``times`` blocks of the batch, one after another."""
        return Merging(self.heads.repeat(times, 1), self.members.repeat(times, 1), self.into.repeat(times, 1))


def match(x: Tensor, sources: Tensor, destinations: Tensor) -> tuple[Tensor, Tensor]:
    """Each source's best destination by cosine similarity.

    ``x`` (B, N, C), ``sources`` (B, S) and ``destinations`` (B, D) token indices -> similarity (B, S) and the place (B, S) in
    ``destinations``.
    """
    unit = x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    wide = x.shape[-1]
    a = unit.gather(1, sources[..., None].expand(-1, -1, wide))
    b = unit.gather(1, destinations[..., None].expand(-1, -1, wide))
    best = (a @ b.transpose(1, 2)).max(-1)
    return best.values, best.indices


def merge_best(x: Tensor, destinations: Tensor, keep: int) -> Merging:
    """ToMe's choice: of all tokens that are not destinations, the best matched are merged until ``keep`` groups remain.

    ``x`` (B, N, C) the metric, ``destinations`` (B, D) with D <= keep <= N.
    """
    sources = complement(destinations, x.shape[1])
    similarity, place = match(x, sources, destinations)
    alone, merged = split_by(similarity, keep - destinations.shape[1])
    heads = torch.cat([sources.gather(1, alone), destinations], 1)
    return Merging(heads, sources.gather(1, merged), place.gather(1, merged) + alone.shape[1])


def split_by(score: Tensor, lowest: int) -> tuple[Tensor, Tensor]:
    """Indices of the ``lowest`` smallest scores and of the others, (B, S) -> (B, lowest), (B, S - lowest)."""
    order = score.argsort(dim=-1)
    return order[:, :lowest], order[:, lowest:]


def complement(index: Tensor, n: int) -> Tensor:
    """The indices of 0..n-1 that are not in ``index`` (B, D), ascending: (B, n - D)."""
    taken = torch.zeros(len(index), n, dtype=torch.bool, device=index.device).scatter_(1, index, True)
    return taken.to(torch.uint8).argsort(dim=1, stable=True)[:, : n - index.shape[1]]


def grid_destinations(grid: tuple[int, int], stride: int, generator: torch.Generator) -> Tensor:
    """One random token of every ``stride`` x ``stride`` cell of a token grid (h, w), as (D,) flat indices."""
    h, w = grid
    rows, columns = h // stride, w // stride
    choice = torch.randint(stride * stride, (rows, columns), generator=generator)
    y = torch.arange(rows)[:, None] * stride + choice // stride
    x = torch.arange(columns)[None, :] * stride + choice % stride
    return (y * w + x).flatten()
