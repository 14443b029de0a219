"""What the store is told about papers that can be run: plain data, handed down by the floors that know the methods."""

from __future__ import annotations

from dataclasses import dataclass

CLAIMS = ("holds", "fails", "stale")


@dataclass(frozen=True)
class Runnable:
    """The runnable form of one paper. ``claim`` is one of CLAIMS, or None while no evidence is recorded."""

    id: str  # arXiv id of the paper, without version
    name: str  # the method's name
    family: str
    command: str  # what to type, as ``diffolio run fouriscale``
    claim: str | None = None
    figure: str | None = None  # baseline -> method, as ``0.41 -> 0.29 (n=32)``

    @property
    def line(self) -> str:
        """One line for a digest: the command and what the evidence says."""
        told = {"holds": "claim holds", "fails": "claim fails", "stale": "evidence is stale"}.get(self.claim or "", "")
        return " · ".join(part for part in (f"runs: {self.command}", f"{told} {self.figure or ''}".strip()) if part)
