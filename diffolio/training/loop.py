"""The one training loop: seeded, resumable after kill -9, with EMA, a progress bar and a log.

An objective says what is trained and what a step's loss is; the loop does the rest on accelerate. Batches are a function
of (seed, step), so that a resumed run sees the same data as an uninterrupted one without saving any iterator.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, NotFinite, TrainingStopped


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps or of seconds (of training, across resumes)."""

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.steps, self.seconds) if value is not None]
        if len(given) != 1 or given[0] <= 0:
            raise BadInput(f"budget {self.steps} steps, {self.seconds} seconds: give one of the two, above zero")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``"2000"`` is steps, ``"300s"``, ``"20m"`` and ``"2h"`` are time."""
        try:
            if text[-1:] in "smh" and text:
                return cls(seconds=float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]])
            return cls(steps=int(text))
        except ValueError:
            raise BadInput(f"budget {text!r}: give steps (2000) or a time (300s, 20m, 2h)") from None

    def spent(self, steps: int, seconds: float) -> float:
        """The share of the budget that is used up, 0 to 1 and beyond."""
        return steps / self.steps if self.steps else seconds / (self.seconds or 1)


class Objective(Protocol):
    """What a recipe gives to the loop."""

    modules: dict[str, nn.Module]
    """The trained networks by name; parameters that do not require gradients stay as they are."""

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The loss of one step and what else to log. All randomness from ``generator``, which belongs to the step and to the CPU."""
        ...


@dataclass(frozen=True)
class Settings:
    """How to optimise. ``decay`` is the EMA's; 0 turns it off. The rate falls along a cosine to ``last_rate`` x rate."""

    rate: float = 1e-3
    warmup: int = 100
    last_rate: float = 0.05
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    decay: float = 0.999
    every: int = 500  # steps between checkpoints
    bfloat16: bool = False


@dataclass(frozen=True)
class Trained:
    """The outcome: EMA weights are in the objective's modules; ``log`` is the CSV; ``steps`` and ``seconds`` what it took.

    ``start`` is what ``train`` was given when the run began, also if it was resumed since.
    """

    folder: Path
    steps: int
    seconds: float
    losses: dict[str, float] = field(default_factory=dict)
    start: str | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log.csv"


def train(
    objective: Objective,
    folder: str | Path,
    budget: Budget,
    settings: Settings | None = None,
    *,
    seed: int = 0,
    resume: bool = True,
    device: str | torch.device = "cpu",
    progress: bool = True,
    start: str | None = None,
) -> Trained:
    """Train until the budget is spent; on return the modules hold the averaged weights.

    A checkpoint is written every ``settings.every`` steps to ``folder/checkpoint`` by renaming a finished folder, so a
    kill at any moment loses at most that many steps. With ``resume`` a found checkpoint is taken up; without it a folder
    that holds one is refused, so that nothing is overwritten by mistake. ``start`` names the weights the objective came with: it is
    kept in the checkpoint, so that whoever resumes need not say it again.
    """
    from accelerate import Accelerator
    from diffusers.training_utils import EMAModel

    settings = settings or Settings()
    folder = Path(folder)
    _prepare(folder, resume)
    kind = torch.device(device).type
    # The precision is not accelerate's, which is one for the whole process: two trainings in one may differ in it.
    accelerator = Accelerator(cpu=kind == "cpu", mixed_precision="no")
    names = list(objective.modules)
    parameters = [p for name in names for p in objective.modules[name].parameters() if p.requires_grad]
    if not parameters:
        raise TrainingStopped("no parameter requires a gradient: there is nothing to train")
    optimizer = torch.optim.AdamW(parameters, settings.rate, settings.betas, weight_decay=settings.weight_decay)
    prepared = accelerator.prepare(*(objective.modules[name] for name in names), optimizer)
    optimizer = prepared[-1]
    average = (
        EMAModel(parameters, decay=settings.decay, use_ema_warmup=True, inv_gamma=1.0, power=0.75) if settings.decay else None
    )

    step, spent = 0, 0.0
    if resume and (found := _load(folder, accelerator, average)):
        step, spent, start = int(found["step"]), float(found["seconds"]), found.get("start")
    started, since = time.monotonic(), time.monotonic()
    columns: dict[str, float] = {}
    with _bar(progress, budget, step) as advance, open(folder / "log.csv", "a", newline="") as file:
        log = csv.writer(file)
        while (used := budget.spent(step, spent + time.monotonic() - started)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = settings.rate * _rate(step, used, settings)
            generator = torch.Generator(device="cpu").manual_seed(seed * 1_000_003 + step)
            with torch.autocast(kind, torch.bfloat16, enabled=settings.bfloat16):
                loss, extra = objective.loss(step, generator)
            if not torch.isfinite(loss):
                raise NotFinite(
                    f"the loss is {float(loss.detach())} at step {step}: lower the rate, or resume from {folder / 'checkpoint'}"
                )
            accelerator.backward(loss)
            if settings.clip:
                accelerator.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if average:
                average.step(parameters)
            step += 1
            if step % 20 == 0 or step == 1:
                row = {"step": step, "loss": float(loss.detach()), **{name: float(value) for name, value in extra.items()}}
                if not columns and file.tell() == 0:
                    log.writerow(row)
                columns = {k: 0.98 * columns.get(k, v) + 0.02 * v for k, v in row.items()}
                log.writerow([f"{value:.6g}" for value in row.values()])
                file.flush()
                advance(step, used, columns.get("loss", 0.0))
            if step % settings.every == 0:
                _save(folder, accelerator, average, step, spent + time.monotonic() - started, start)
    _save(folder, accelerator, average, step, spent + time.monotonic() - started, start)
    if average:
        average.copy_to(parameters)
    columns.pop("step", None)
    return Trained(folder, step, spent + time.monotonic() - since, columns, start)


def _rate(step: int, used: float, settings: Settings) -> float:
    rise = min(1.0, (step + 1) / max(settings.warmup, 1))
    fall = settings.last_rate + (1 - settings.last_rate) * 0.5 * (1 + math.cos(math.pi * min(used, 1.0)))
    return rise * fall


def _prepare(folder: Path, resume: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInput(f"the training folder {folder} cannot be written ({error.strerror}): name another with --out") from error
    if not resume and (folder / "checkpoint").exists():
        raise TrainingStopped(f"{folder} holds a checkpoint: add --resume to go on from it, or name another folder with --out")


def _save(folder: Path, accelerator: Any, average: Any, step: int, seconds: float, start: str | None) -> None:
    """Write beside, then rename: whoever reads ``checkpoint`` sees a whole one."""
    fresh, current, old = folder / "checkpoint.new", folder / "checkpoint", folder / "checkpoint.old"
    for left_over in (fresh, old):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        accelerator.save_state(str(fresh), safe_serialization=True)
        if average:
            torch.save(average.state_dict(), fresh / "average.pt")
        (fresh / "progress.json").write_text(json.dumps({"step": step, "seconds": seconds, "start": start}))
    except Exception as error:  # a full disk is an OSError, a RuntimeError or a SafetensorError, as the writer likes
        shutil.rmtree(fresh, ignore_errors=True)
        kept = f"the one before it is whole in {current}" if current.exists() else "none was written before"
        raise TrainingStopped(
            f"the checkpoint of step {step} could not be written to {folder} ({error}); {kept}. Make room and go on with --resume"
        ) from error
    if current.exists():
        os.rename(current, old)
    os.rename(fresh, current)
    shutil.rmtree(old, ignore_errors=True)


def _load(folder: Path, accelerator: Any, average: Any) -> dict[str, Any] | None:
    """Take up the newest whole checkpoint; how far it is, or nothing if there is none."""
    for name in ("checkpoint", "checkpoint.old"):  # killed between the two renames: the old one is whole
        found = folder / name
        if (found / "progress.json").exists():
            try:
                accelerator.load_state(str(found))
                if average:
                    average.load_state_dict(torch.load(found / "average.pt", weights_only=True))
                progress: dict[str, Any] = json.loads((found / "progress.json").read_text())
            except (RuntimeError, ValueError, KeyError, OSError) as error:
                raise BadInput(
                    f"{found} is no checkpoint of this training ({str(error).splitlines()[0]}): it was written for another model or "
                    "other settings; name another folder with --out"
                ) from error
            return progress
    return None


class _bar:  # noqa: N801 - used as a function
    """A progress bar over the budget, or nothing."""

    def __init__(self, show: bool, budget: Budget, step: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("step {task.fields[step]}"), BarColumn(), TextColumn("loss {task.fields[loss]:.4f}"), TimeRemainingColumn(),
            disable=not show,
        )  # fmt: skip
        self.task = self.progress.add_task("train", total=1.0, step=step, loss=0.0)

    def __enter__(self) -> Any:
        self.progress.start()
        return lambda step, used, loss: self.progress.update(self.task, completed=used, step=step, loss=loss)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
