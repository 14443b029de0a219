"""What a claim is: a paper's headline as an experiment with a baseline, a metric and a bar, in one run.

A claim module ``claims/<family>/<name>.py`` holds ``CLAIM``, which says what is claimed without importing torch, and
``measure(budget) -> Outcome``, which runs the experiment. An outcome has a headline row and may have more rows; a row
without a bar is reported only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diffolio.errors import BadInput

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class AtMost:
    bar: float

    def met(self, value: float, low: float, high: float) -> bool:
        """The value reaches the bar and its interval stays on the better side of no effect (1) where the bar is below 1."""
        return value <= self.bar and (self.bar >= 1 or math.isnan(high) or high < 1)

    def __str__(self) -> str:
        return f"<= {self.bar:g}"


@dataclass(frozen=True)
class AtLeast:
    bar: float

    def met(self, value: float, low: float, high: float) -> bool:
        return value >= self.bar and (self.bar <= 1 or math.isnan(low) or low > 1)

    def __str__(self) -> str:
        return f">= {self.bar:g}"


Bar = AtMost | AtLeast


@dataclass(frozen=True)
class Claim:
    """What is claimed, of which method, on what."""

    method: str
    metric: str
    paper_says: str
    bar: Bar
    world: str = "tabletop"
    model: str = "mini-sd"
    weights: tuple[str, ...] = ()  # further bundled weights the experiment reads; evidence is stale when any changes


@dataclass(frozen=True)
class Row:
    """One measured comparison. ``baseline`` and ``value`` hold a number per seed, prompt or scene, in the same order when paired.

    With a baseline the row's figure is the ratio of the means, value over baseline, with a bootstrap interval. Without one
    (``baseline`` None) it is the mean of ``value`` itself.
    """

    metric: str
    value: Sequence[float]
    baseline: Sequence[float] | None = None
    bar: Bar | None = None
    paired: bool = True
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        from diffolio.metrics.stats import mean_interval, ratio_interval

        values = [float(v) for v in self.value]
        base = None if self.baseline is None else [float(v) for v in self.baseline]
        if base is None:
            figure = mean_interval(values)
        else:
            figure = ratio_interval(values, base, paired=self.paired)
        low, high = (figure.low, figure.high) if len(values) > 1 else (math.nan, math.nan)
        return {
            "metric": self.metric,
            "baseline": None if base is None else sum(base) / len(base),
            "value": sum(values) / len(values),
            "ratio": figure.value,
            "interval": [low, high],
            "bar": None if self.bar is None else str(self.bar),
            "holds": None if self.bar is None else bool(self.bar.met(figure.value, low, high)),
            "n": len(values),
            "note": self.note,
        }


@dataclass
class Outcome:
    """What an experiment found: the headline first, then what else was measured; a picture that shows the effect."""

    headline: Row
    more: list[Row] = field(default_factory=list)
    picture: Image.Image | None = None
    seeds: str = ""
    notes: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.headline.bar is None:
            raise BadInput(f"the headline {self.headline.metric!r} has no bar: a claim states one before it is run")
