"""Recorders: what attention saw and what modules gave, by path and step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffolio.errors import BadInput, choose
from diffolio.seams.attention import Where
from diffolio.seams.sites import Site

if TYPE_CHECKING:
    from diffolio.seams import Seams

KEPT = ("q", "k", "v", "probabilities", "output")


@dataclass(kw_only=True)
class Store:
    """How tensors are kept: which rows (all if None), where, in which type, with gradients or without."""

    rows: tuple[str, ...] | None = None
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    detach: bool = True

    def keep(self, site: Site, x: Tensor) -> Tensor:
        """The chosen rows of ``x`` (rows * samples, ...), one after the other. The result never shares memory with ``x``."""
        if self.rows is not None:
            x = torch.cat([x[site.row(name)] for name in self.rows])
        x = x.detach() if self.detach else x
        kept = x.to(device=self.device, dtype=self.dtype)
        return kept.clone() if kept is x and self.rows is None else kept


@dataclass(kw_only=True)
class AttentionBank(Store):
    """Keeps q, k, v, probabilities or output of attention sites: ``bank["down_blocks.0...attn1", step]["k"]``.

    ``what`` names the parts; tensors are (rows * samples, heads, N, d) of the chosen ``rows``, probabilities (..., Nq, Nk).
    Where a module attends several times in a forward, further calls are kept under ``path#1``, ``path#2``. With
    ``last_only``, the step is always -1 and only the newest tensors are held. Looking changes no bit of the model's output.
    """

    what: tuple[str, ...] = ("k", "v")
    where: Where | None = None
    last_only: bool = False
    kept: dict[tuple[str, int], dict[str, Tensor]] = field(default_factory=dict)
    sites: dict[tuple[str, int], Site] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.what:
            choose("part of attention", name, KEPT)
        if not self.what:
            raise BadInput(f"an attention bank that keeps nothing: name some of {', '.join(KEPT)}")

    def record(self, seams: Seams, name: str = "bank") -> AbstractContextManager[None]:
        """Keep what runs inside the ``with`` block."""
        return seams.attention(
            qkv=self._see_qkv if {"q", "k", "v"} & set(self.what) else None,
            probabilities=self._see_probabilities if "probabilities" in self.what else None,
            output=self._see_output if "output" in self.what else None,
            where=self.where,
            name=name,
        )

    def __getitem__(self, place: tuple[str, int]) -> dict[str, Tensor]:
        if place not in self.kept:
            raise BadInput(f"nothing was recorded at {place}; recorded: {len(self.kept)} places, steps {self.steps()}")
        return self.kept[place]

    def paths(self) -> list[str]:
        return list(dict.fromkeys(path for path, _ in self.kept))

    def steps(self) -> list[int]:
        return sorted({step for _, step in self.kept})

    def clear(self) -> None:
        self.kept.clear()
        self.sites.clear()

    def _see_qkv(self, site: Site, q: Tensor, k: Tensor, v: Tensor) -> None:
        for name, x in (("q", q), ("k", k), ("v", v)):
            if name in self.what:
                self._add(site, name, x)

    def _see_probabilities(self, site: Site, p: Tensor) -> None:
        self._add(site, "probabilities", p)

    def _see_output(self, site: Site, o: Tensor) -> None:
        self._add(site, "output", o)

    def _add(self, site: Site, name: str, x: Tensor) -> None:
        place = (site.path + (f"#{site.call}" if site.call else ""), -1 if self.last_only else site.step)
        self.kept.setdefault(place, {})[name] = self.keep(site, x)
        self.sites[place] = site


@dataclass(kw_only=True)
class FeatureTap(Store):
    """Keeps module outputs: ``tap["mid_block", step]``, the chosen rows of (rows * samples, C, h, w)."""

    last_only: bool = False
    kept: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    @contextmanager
    def record(self, seams: Seams, paths: str | tuple[str, ...]) -> Iterator[FeatureTap]:
        """Keep what the modules at ``paths`` give inside the ``with`` block."""
        with seams.features(self._see, paths):
            yield self

    def __getitem__(self, place: tuple[str, int]) -> Tensor:
        if place not in self.kept:
            raise BadInput(f"nothing was recorded at {place}; recorded: {sorted(self.kept)[:8]}")
        return self.kept[place]

    def _see(self, site: Site, x: Tensor) -> None:
        self.kept[site.path, -1 if self.last_only else site.step] = self.keep(site, x)
