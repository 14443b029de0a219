"""A learned rule as pseudo-words, with where it started, and on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffolio.errors import BadInput


@dataclass(frozen=True, eq=False)
class LogicEmbedding:
    """``vectors`` and ``start`` (n, D): the words learned, and those of the rule; ``about``: how it was learned."""

    vectors: Tensor
    start: Tensor
    about: dict[str, Any] = field(default_factory=dict)

    def at(self, strength: float) -> Tensor:
        """The words ``strength`` of the way from the rule's own to the learned ones, (n, D)."""
        return self.start + strength * (self.vectors - self.start) if strength != 1 else self.vectors

    def save(self, path: str | Path) -> Path:
        """Write float32 safetensors, whole or not at all."""
        from safetensors.torch import save_file

        path = Path(path)
        fresh = path.with_name(f".{path.name}.part")
        tensors = {"vectors": self.vectors, "start": self.start}
        try:
            save_file(
                {k: v.detach().float().cpu().contiguous() for k, v in tensors.items()}, fresh, {"about": json.dumps(self.about)}
            )
            fresh.replace(path)
        except (OSError, RuntimeError) as error:
            raise BadInput(f"cannot write {path} ({error}): name a folder that can be written") from error
        finally:
            fresh.unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: str | Path) -> LogicEmbedding:
        """What ``save`` wrote; BadInput for anything else."""
        from safetensors import safe_open

        try:
            with safe_open(str(path), "pt") as file:
                about = json.loads((file.metadata() or {}).get("about", "{}"))
                found = cls(file.get_tensor("vectors"), file.get_tensor("start"), about)
        except Exception as error:  # every way in which a file can be something else
            raise BadInput(f"{path} cannot be read as a logical embedding ({error}): give one that fit saved") from error
        if found.vectors.dim() != 2 or found.vectors.shape != found.start.shape or not bool(torch.isfinite(found.vectors).all()):
            raise BadInput(f"{path} holds {tuple(found.vectors.shape)} and {tuple(found.start.shape)}: no logical embedding")
        return found
