"""What a run costs: the calls of a model's network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass
class Calls:
    """How often a network ran: ``forwards`` of whole batches, and ``rows`` of them together."""

    forwards: int = 0
    rows: int = 0


@contextmanager
def counted(model: Any) -> Iterator[Calls]:
    """Count what a model's denoiser is asked inside; a guided step of one picture is two rows."""
    calls = Calls()

    def count(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        first = next((x for x in (*args, *named.values()) if isinstance(x, Tensor) and x.dim() > 1), None)
        calls.forwards += 1
        calls.rows += 0 if first is None else len(first)

    handle = model.denoiser.register_forward_hook(count, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()
