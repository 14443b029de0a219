"""Diffolio: a digest of diffusion papers that you can run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffolio.models import load as load
    from diffolio.registry import stack as stack

__version__ = "0.1.0"
__all__ = ["__version__", "load", "stack"]


def __getattr__(name: str) -> Any:
    """``load`` and ``stack`` on first use, so that importing the package costs nothing."""
    if name == "load":
        from diffolio.models import load

        return load
    if name == "stack":
        from diffolio.registry import stack

        return stack
    raise AttributeError(f"module 'diffolio' has no attribute {name!r}")
