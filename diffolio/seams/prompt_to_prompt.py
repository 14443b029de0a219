"""Prompt-to-prompt: a picture made again with another prompt, by handing it the attention of the first.

Hertz et al., 2022, arXiv:2208.01626. Source and target are made side by side. The probability maps M of cross-attention say where
each word acts; for the first steps the target takes over those of the source,

    M_target[:, t] <- sum_s M_source[:, s] carry[s, t]      for target tokens t that have a counterpart
    M_target[:, t] <- c_t M_target[:, t]                    reweighting by c_t

and its self-attention maps at coarse grids (by taking over queries and keys, which gives the same maps). "refine" lets words that
are new keep their own maps; "replace" hands a new word the map of the word in whose place it stands. A local blend keeps
the source's latents wherever the words of the blend do not act. As in the released code, rows are not normalised again.

Batches: samples are sources first, then their targets in the same order; only the row "cond" is edited.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from diffolio.errors import BadInput, choose
from diffolio.seams.sites import Site

if TYPE_CHECKING:
    from diffolio.seams import Seams

MODES = ("refine", "replace")
BLEND_CELLS = 256  # the maps of a local blend have at most 16x16 cells, as in the released code


@dataclass(frozen=True, eq=False)
class Alignment:
    """Of P pairs of prompts with L tokens each: ``carry`` (P, L source, L target), and ``shared`` bool (P, L target), the
    target tokens that take over a map."""

    carry: Tensor
    shared: Tensor

    @classmethod
    def of(
        cls, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], length: int, mode: str = "refine"
    ) -> Alignment:
        """From token ids, start and end marks included, padding left out; ``length`` tokens are in the padded sequence."""
        carry = torch.stack([align(s, t, length, mode) for s, t in zip(sources, targets, strict=True)])
        return cls(carry, carry.sum(1) > 0)


@dataclass(frozen=True, eq=False)
class PromptToPrompt:
    """Shares of the steps during which cross- and self-attention are taken over, and what is done to words.

    ``reweight`` (P, L): factors of the target tokens' maps. ``blend`` bool (2P, L): the words of the local blend, in every
    sample's own prompt. ``finest``: the largest side of the grids whose self-attention is taken over, as a share of the
    latent's side (the released code: 32 cells of 64).
    """

    alignment: Alignment
    cross_replace: float = 0.8
    self_replace: float = 0.4
    reweight: Tensor | None = None
    blend: Tensor | None = None
    blend_from: float = 0.2
    blend_threshold: float = 0.3
    finest: float = 0.5

    @contextmanager
    def on(self, seams: Seams, name: str = "prompt-to-prompt") -> Iterator[None]:
        """Act on every run inside the ``with`` block."""
        maps = BlendMaps(self.blend) if self.blend is not None else None

        def before(site: Site, share: float) -> bool:
            if site.step < 0:
                raise BadInput(f"{name} needs to know its step: sample through the pipeline, whose scheduler counts them")
            return site.step < math.floor(share * len(seams.state.scheduler.timesteps) + 1e-6)

        def is_coarse(site: Site) -> bool:
            sides = seams.state.run.shape[-2:]  # type: ignore[union-attr]
            return site.grid is not None and all(
                cells <= math.ceil(self.finest * side) for cells, side in zip(site.grid, sides, strict=True)
            )

        def take_over(site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            source, target = self._pair(site)
            q, k = q.clone(), k.clone()
            q[target], k[target] = q[source], k[source]
            return q, k, v

        def words(site: Site, p: Tensor) -> Tensor | None:
            source, target = self._pair(site)
            if site.call or p.shape[-1] != self.alignment.carry.shape[-1]:
                return None  # an image-prompt adapter's keys are no words
            edited = before(site, self.cross_replace)
            if edited:
                p = p.clone()
                p[target] = self.carried(p[source], p[target])
            if maps is not None:
                maps.add(site, p[site.row("cond")])
            return p if edited else None

        def keep_outside(step: int, timestep: Any, latents: Tensor) -> Tensor | None:
            assert maps is not None
            if step < math.floor(self.blend_from * len(seams.state.scheduler.timesteps) + 1e-6):
                return None
            source, target = latents.chunk(2)
            mask = maps.mask(latents.shape[-2:], self.blend_threshold)
            return torch.cat([source, torch.where(mask[:, None], target, source)])

        wants_words = lambda site: site.kind == "cross" and (maps is not None or before(site, self.cross_replace))  # noqa: E731
        wants_self = lambda site: site.kind == "self" and before(site, self.self_replace) and is_coarse(site)  # noqa: E731
        with ExitStack() as held:
            held.enter_context(seams.attention(probabilities=words, where=wants_words, name=name))
            held.enter_context(seams.attention(qkv=take_over, where=wants_self, name=name))
            if maps is not None:
                held.enter_context(seams.scheduler(after=keep_outside))
            yield

    def carried(self, source: Tensor, target: Tensor) -> Tensor:
        """The target's cross-attention (P, heads, N, L) after taking over the source's and reweighting."""
        carry, shared = self.alignment.carry.to(source), self.alignment.shared.to(source.device)[:, None, None]
        taken = torch.where(shared, torch.einsum("phns,pst->phnt", source, carry), target)
        return taken if self.reweight is None else taken * self.reweight.to(taken)[:, None, None]

    def _pair(self, site: Site) -> tuple[slice, slice]:
        """The batch entries of sources and of targets in the row "cond"."""
        pairs, rows = len(self.alignment.carry), site.row("cond")
        if rows.stop - rows.start != 2 * pairs:
            raise BadInput(
                f"{rows.stop - rows.start} samples run, but {pairs} pairs of prompts were aligned: "
                f"give {pairs} sources and then their {pairs} targets"
            )
        return slice(rows.start, rows.start + pairs), slice(rows.start + pairs, rows.stop)


@dataclass(eq=False)
class BlendMaps:
    """Where the words of a local blend act: their cross-attention, summed over steps, layers and heads, by grid."""

    words: Tensor
    step: int = -1
    sums: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    def add(self, site: Site, p: Tensor) -> None:
        """Maps (2P, heads, N, L) of one layer."""
        if site.step == 0 and self.step > 0:
            self.sums.clear()  # another run
        self.step = site.step
        if site.grid is None:
            return
        heat = (p * self.words.to(p)[:, None, None]).sum(-1).mean(1).unflatten(-1, site.grid)
        self.sums[site.grid] = self.sums[site.grid] + heat if site.grid in self.sums else heat

    def mask(self, size: Sequence[int], least: float) -> Tensor:
        """Bool (P, h, w): a sample's map, grown by a cell, above the share ``least`` of its maximum in source or target."""
        small = [grid for grid in self.sums if math.prod(grid) <= BLEND_CELLS]
        grid = max(small, key=math.prod) if small else min(self.sums, key=math.prod)
        heat = max_pool2d(self.sums[grid][:, None].float(), 3, stride=1, padding=1)
        heat = interpolate(heat, tuple(size), mode="nearest")[:, 0]
        source, target = (heat > least * heat.amax((-2, -1), keepdim=True)).chunk(2)
        return source | target


def align(source: Sequence[int], target: Sequence[int], length: int, mode: str = "refine") -> Tensor:
    """``carry`` (length, length) for one pair: which source tokens' maps make up each target token's.

    Equal tokens in the same order (a longest common subsequence) are counterparts, padding is of padding. In mode "replace"
    tokens that stand between the same counterparts are too: one to one where they are as many, else each new one gets the
    sum of the old ones' maps divided by how many new ones there are.
    """
    choose("alignment of words", mode, MODES)
    if max(len(source), len(target)) > length:
        raise BadInput(f"prompts of {len(source)} and {len(target)} tokens in a sequence of {length}: cut them first")
    carry = torch.zeros(length, length)
    pairs = common_subsequence(source, target)
    for s, t in pairs:
        carry[s, t] = 1
    if mode == "replace":
        for (s0, t0), (s1, t1) in zip([(-1, -1), *pairs], [*pairs, (len(source), len(target))], strict=True):
            old, new = range(s0 + 1, s1), range(t0 + 1, t1)
            if len(old) == len(new):
                carry[list(old), list(new)] = 1
            elif old and new:
                carry[s0 + 1 : s1, t0 + 1 : t1] = 1 / len(new)
    for t in range(len(target), length):
        carry[min(max(t, len(source)), length - 1), t] = 1
    return carry


def common_subsequence(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """The places of a longest common subsequence, ascending (Needleman-Wunsch with match 1 and gap 0)."""
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in reversed(range(len(a))):
        for j in reversed(range(len(b))):
            best[i][j] = best[i + 1][j + 1] + 1 if a[i] == b[j] else max(best[i + 1][j], best[i][j + 1])
    found, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return found
