"""What a denoiser is conditioned on, row by row of the guidance batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, unknown

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """``rows[name]`` are the denoiser's keyword arguments for a row ("cond", "uncond"), each tensor (B, ...).

    ``size`` (height, width) in pixels is set where the caller fixed the size that some architectures condition on; None
    lets it follow the latents.
    """

    rows: dict[str, Arguments]
    prompts: list[str]
    negative: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, name: str) -> Arguments:
        if name not in self.rows:
            raise unknown("row", name, self.rows)
        return self.rows[name]

    def index(self, which: int | slice | Sequence[int]) -> Condition:
        """The condition of some of the samples. IndexError as for a list."""
        everyone = list(range(len(self)))
        if isinstance(which, int):
            return self._chosen([everyone[which]])
        return self._chosen(everyone[which] if isinstance(which, slice) else [everyone[i] for i in which])

    def repeat(self, n: int) -> Condition:
        """Each sample ``n`` times, one after the other: (a, b) -> (a, a, b, b)."""
        if n < 1:
            raise BadInput(f"repeat {n} times: give at least one")
        return self._chosen([i for i in range(len(self)) for _ in range(n)])

    def to(self, *args: Any, **kwargs: Any) -> Condition:
        """Every floating-point tensor moved or cast, masks only moved."""

        def move(tensor: Tensor) -> Tensor:
            moved = tensor.to(*args, **kwargs)
            return moved if tensor.is_floating_point() else moved.to(tensor.dtype)

        return replace(self, rows={name: map_tensors(move, row) for name, row in self.rows.items()})

    def with_row(self, name: str, **changes: Any) -> Condition:
        """A condition in which row ``name`` has other arguments; a new row starts from "cond"."""
        start = self.rows.get(name, self.rows["cond"])
        return replace(self, rows={**self.rows, name: {**start, **changes}})

    def joined(self, names: Sequence[str]) -> Arguments:
        """The arguments of a batch that holds these rows one after the other: tensors (len(names) * B, ...)."""
        return join([self[name] for name in names])

    def _chosen(self, chosen: list[int]) -> Condition:
        def pick(tensor: Tensor) -> Tensor:
            return tensor[torch.tensor(chosen, device=tensor.device)]

        rows = {name: map_tensors(pick, row) for name, row in self.rows.items()}
        negative = [self.negative[i] for i in chosen] if self.negative else []
        return replace(self, rows=rows, prompts=[self.prompts[i] for i in chosen], negative=negative)


def map_tensors(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """``change`` every tensor in nested dictionaries, lists and tuples."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: map_tensors(change, inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(change, inner) for inner in value)
    return value


def join(rows: Sequence[Any]) -> Any:
    """Concatenate the tensors of like-built nested arguments along the batch."""
    head = rows[0]
    if len(rows) == 1:
        return head
    if isinstance(head, Tensor):
        return torch.cat(list(rows))
    if isinstance(head, dict):
        return {key: join([row[key] for row in rows]) for key in head}
    if isinstance(head, (list, tuple)):
        return type(head)(join(parts) for parts in zip(*rows, strict=True))
    return head
