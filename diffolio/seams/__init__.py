"""Ways into a running network: attention, features, denoiser, scheduler. Everything comes off again, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn

from diffolio.errors import Conflict
from diffolio.seams.attention import AttentionSeam
from diffolio.seams.bank import AttentionBank, FeatureTap
from diffolio.seams.denoiser import Call, DenoiserSeam
from diffolio.seams.features import Around, FeatureSeam, Paths
from diffolio.seams.kernel import AttentionCall, attention_logits
from diffolio.seams.scheduler import SchedulerSeam, StopSampling, stop
from diffolio.seams.sites import Place, Site, places
from diffolio.seams.state import State

__all__ = [
    "AttentionBank",
    "AttentionCall",
    "Call",
    "FeatureTap",
    "Place",
    "Seams",
    "Site",
    "StopSampling",
    "attention_logits",
    "stop",
]


class Seams:
    """The seams of one pipeline, or of anything with ``.unet`` or ``.transformer`` and ``.scheduler``.

    Each seam is a context manager: ``with seams.attention(qkv=...), seams.denoiser(after=...): pipeline(...)``. Editors are
    plain functions; several of them act in the order in which they were entered. Not for use from several threads at once.
    """

    def __init__(self, pipeline: Any) -> None:
        self.state = State(pipeline)
        self.attention = AttentionSeam(self.state)
        self.denoiser = DenoiserSeam(self.state)
        self.scheduler = SchedulerSeam(self.state)
        self._features = FeatureSeam(self.state)
        self.features = self._features.outputs
        self.inputs = self._features.inputs
        self.arguments = self._features.arguments
        self._claims: dict[str, str] = {}

    def around(self, stand_in: Around, paths: Paths) -> AbstractContextManager[None]:
        """``stand_in(site, forward, *args, **kwargs)`` gives the modules' output; it may call ``forward`` or save the work."""
        return self._features.around(stand_in, paths)

    def modules(self, paths: Paths) -> list[tuple[str, nn.Module]]:
        """The denoiser's modules at exact paths, patterns with ``*``, or those that a predicate (path, module) chooses."""
        return self._features.modules(paths)

    def sites(self) -> list[Place]:
        """The attention modules of the denoiser."""
        return places(self.state.denoiser)

    def rows(
        self, *names: str, guidance_scale: float | None = None, prompts: Sequence[str] | None = None
    ) -> AbstractContextManager[None]:
        """Every forward inside has these rows: ``with seams.rows("uncond", "cond", guidance_scale=7.5): unet(...)``.

        ``prompts``: what the samples were asked for, for methods that look for words.
        """
        return self.state.rows(_flat(names), guidance_scale, prompts)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """No editor acts inside: the plain model, without leaving the seams."""
        self.state.muted += 1
        try:
            yield
        finally:
            self.state.muted -= 1

    @contextmanager
    def claim(self, place: str, by: str) -> Iterator[None]:
        """Hold an exclusive place ("guidance rule", a layer's forward) for the method ``by``."""
        if place in self._claims:
            raise Conflict(
                f"{by} and {self._claims[place]} both need {place!r} for themselves: "
                "use one of them, or leave the first before entering the second"
            )
        self._claims[place] = by
        try:
            yield
        finally:
            del self._claims[place]


def _flat(names: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(names[0]) if len(names) == 1 and not isinstance(names[0], str) else names
