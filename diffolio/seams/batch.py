"""The arguments of a denoiser as rows: cut one row out, add one, replace one, whatever the nesting.

A batch is rows * samples entries, row after row. A tensor belongs to the rows if its first dimension is the batch (or the batch
times the frames of a video); everything else (scalars, position ids, None) is shared by all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffolio.errors import BadInput

SHARED = ("txt_ids", "img_ids", "image_rotary_emb", "return_dict")
Tree = Any
OnRow = Callable[[Tensor, Any], Any]


class _Same:
    """No change was given here."""


SAME = _Same()


@dataclass(frozen=True)
class Rows:
    """The layout of a batch: ``count`` rows of ``samples`` entries, ``frames`` frames each."""

    count: int
    samples: int
    frames: int = 1

    def cut(self, tree: Tree, index: int) -> Tree:
        """The part of row ``index``; what is shared stays."""
        return self._map(tree, SAME, lambda x, _: self._part(x, index))

    def added(self, tree: Tree, like: int, changes: Tree) -> Tree:
        """One row more at the end, like row ``like`` but for the ``changes``."""

        def add(x: Tensor, new: Any) -> Tensor:
            part = self._part(x, like)
            return torch.cat([x, part if new is SAME else _fitted(new, part)])

        return self._map(tree, changes, add)

    def replaced(self, tree: Tree, index: int, changes: Tree) -> Tree:
        """Row ``index`` with the ``changes``; tensors that do not change are the same objects."""

        def put(x: Tensor, new: Any) -> Tensor:
            if new is SAME:
                return x
            size = x.shape[0] // self.count
            fitted = _fitted(new, self._part(x, index))
            return torch.cat([x[: index * size], fitted, x[(index + 1) * size :]])

        return self._map(tree, changes, put)

    def _part(self, x: Tensor, index: int) -> Tensor:
        size = x.shape[0] // self.count
        return x[index * size : (index + 1) * size]

    def _map(self, tree: Tree, changes: Tree, on_row: OnRow, path: str = "") -> Tree:
        if isinstance(tree, dict):
            changes = {} if changes is SAME else changes
            _check_names(tree, changes, path)
            return {k: v if k in SHARED else self._map(v, changes.get(k, SAME), on_row, f"{path}.{k}") for k, v in tree.items()}
        if isinstance(tree, (list, tuple)):
            new = [SAME] * len(tree) if changes is SAME else list(changes)
            if len(new) != len(tree):
                raise BadInput(f"{path[1:]}: {len(new)} tensors given for {len(tree)}: give one for each")
            return type(tree)(self._map(v, c, on_row, f"{path}[{i}]") for i, (v, c) in enumerate(zip(tree, new, strict=True)))
        if isinstance(tree, Tensor) and tree.ndim and tree.shape[0] in self._sizes:
            return on_row(tree, changes)
        if changes is not SAME:
            raise BadInput(f"{path[1:]} is shared by all rows ({type(tree).__name__}): it cannot change for one of them")
        return tree

    @property
    def _sizes(self) -> tuple[int, int]:
        return self.count * self.samples, self.count * self.samples * self.frames


def _check_names(tree: dict[str, Any], changes: Any, path: str) -> None:
    if not isinstance(changes, dict):
        raise BadInput(f"{path[1:]}: give a dictionary with some of {', '.join(tree)}")
    if strange := [name for name in changes if name not in tree]:
        raise BadInput(f"{path[1:] or 'the forward'} has no {', '.join(strange)}; it was called with {', '.join(tree)}")


def _fitted(new: Any, part: Tensor) -> Tensor:
    """``new`` with the entries, type and place of ``part``; a single entry is repeated."""
    new = torch.as_tensor(new).to(part)
    new = new.expand(part.shape) if new.ndim == 0 else new
    if new.shape[0] == 1 and part.shape[0] > 1:
        new = new.expand(part.shape[0], *new.shape[1:])
    if new.shape != part.shape:
        raise BadInput(f"a row of shape {tuple(new.shape)} does not fit; {tuple(part.shape)} is needed")
    return new
