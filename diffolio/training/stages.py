"""Several trainings that make one recipe: one budget split over them, one folder each, and what each took."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffolio.training.loop import Budget, Settings, train


@dataclass
class Stages:
    """``names`` in the order in which they are trained. ``steps`` of each where no budget is given (and how steps are split),
    ``shares`` of the time; ``twins``: what takes exactly as many steps as another one, which is trained before it.

    ``options`` go to the loop: resume, seed, progress. Logs are copied to ``folder/export/logs``.
    """

    folder: Path
    names: Sequence[str]
    steps: Mapping[str, int]
    shares: Mapping[str, float]
    budget: Budget | None = None
    twins: Mapping[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def export(self) -> Path:
        return self.folder / "export"

    def limit(self, name: str) -> Budget:
        """This training's part of the budget."""
        if (twin := self.twins.get(name)) in self.taken:
            return Budget(steps=self.taken[str(twin)])
        if self.budget is None:
            return Budget(steps=self.steps[name])
        table = self.steps if self.budget.steps else self.shares
        share = table[name] / sum(table[n] for n in self.names)
        if self.budget.steps:
            return Budget(steps=max(1, round(self.budget.steps * share)))
        return Budget(seconds=(self.budget.seconds or 0) * share)

    def train(self, name: str, objective: Any, settings: Settings) -> None:
        """Train in ``folder/name``; a finished one is taken up as it is when resuming."""
        device = next(next(iter(objective.modules.values())).parameters()).device
        done = train(objective, self.folder / name, self.limit(name), settings, device=device, **self.options)
        self.taken[name], self.seconds[name] = done.steps, done.seconds
        (self.export / "logs").mkdir(parents=True, exist_ok=True)
        shutil.copy(done.log, self.export / "logs" / f"{name}.csv")

    def record(self) -> dict[str, Any]:
        return {"steps": self.taken, "seconds": {name: round(value) for name, value in self.seconds.items()}}
