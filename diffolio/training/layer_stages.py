"""The trainings that make a model of layers: without attention between layers at first, then with it, and, to compare, without it on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.models.layer_network import LayerNetwork, save_layers
from diffolio.training.layered import LayerPool, LayerTraining
from diffolio.training.loop import Budget, Settings, Trained
from diffolio.training.stages import Stages

if TYPE_CHECKING:
    from diffolio.models import Model

FIRST, FULL, BASELINE = "first", "layers", "baseline"


@dataclass(frozen=True)
class LayerPlan:
    """``shared_first`` of the steps have no attention between layers and serve both networks. ``network`` and ``loss`` are options of
    LayerNetwork and LayerTraining, ``about`` goes into the record."""

    inter_layer: bool
    compare: bool
    shared_first: float
    rate: float
    network: Mapping[str, Any]
    loss: Mapping[str, Any]
    about: Mapping[str, Any]

    def train(
        self, model: Model, pools: Mapping[int, LayerPool], folder: Path, budget: Budget | None, *, seed: int, resume: bool,
        progress: bool,
    ) -> Trained:  # fmt: skip
        """Writes ``folder/adapter``, the logs beside its weights, and with ``compare`` ``folder/adapter/baseline``. A number of steps is
        for each of the two networks, a time is for all of it together; 20 000 steps without a budget."""
        first, whole = self.shared_first, budget or Budget(steps=20_000)
        names = [*([FIRST] if first else []), FULL, *([BASELINE] if self.compare else [])]
        shares = {FIRST: first, FULL: 1 - first, BASELINE: 1 - first}
        steps = {name: max(1, round((whole.steps or 0) * share)) for name, share in shares.items()}
        options: dict[str, Any] = {"resume": resume, "seed": seed, "progress": progress}
        stages = Stages(folder, names, steps, shares, whole if whole.seconds else None, {BASELINE: FULL}, options)
        settings = Settings(rate=self.rate, warmup=30, decay=0.99, every=100)
        start: dict[str, Tensor] = {}
        made: dict[str, LayerNetwork] = {}
        for name in names:
            network = LayerNetwork(model, max(pools), inter_layer=self.inter_layer and name == FULL, **self.network)
            learned = network.learned()
            with torch.no_grad():
                for key, value in start.items():
                    learned[key].copy_(value)
            stages.train(name, LayerTraining(model, network, pools, **self.loss), settings)
            made[name] = network.eval()
            if name == FIRST:
                start = {key: p.detach() for key, p in learned.items()}
                stages.options["seed"] = seed + 1  # other batches than the first steps'
        adapter, about = folder / "adapter", {**self.about, "seed": seed, **stages.record()}
        save_layers(made[FULL], adapter, model, about)
        if self.compare:
            save_layers(made[BASELINE], adapter / BASELINE, model, about)
        for name in names:
            shutil.copy(folder / name / "log.csv", adapter / f"{name}.csv")
        return Trained(folder / FULL, sum(stages.taken[name] for name in names if name != BASELINE), sum(stages.seconds.values()))
