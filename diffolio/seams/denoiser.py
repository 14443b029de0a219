"""The denoiser seam: every row of the guidance batch before the pipeline combines them, with the power to add and drop rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.process.prediction import Prediction, alpha_sigma, kind_of
from diffolio.seams.batch import Rows
from diffolio.seams.features import first, with_first
from diffolio.seams.run import Run
from diffolio.seams.sites import row_slice
from diffolio.seams.state import State

Outputs = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Call:
    """One forward of the denoiser, before it runs.

    ``latents`` (rows * samples, C, h, w), as the scheduler scaled them; ``timestep`` a number, a 0-d tensor or one value for
    every entry; ``kwargs`` every other argument by its name; ``rows`` all rows now, ``own`` those of the pipeline.
    """

    latents: Tensor
    timestep: Any
    kwargs: dict[str, Any]
    rows: tuple[str, ...]
    own: tuple[str, ...]
    run: Run
    guidance_scale: float | None = None

    @property
    def samples(self) -> int:
        return self.latents.shape[0] // len(self.rows)

    @property
    def step(self) -> int:
        """Index in the scheduler's timesteps; -1 if the timestep is none of them."""
        return self.run.step

    @property
    def steps(self) -> int | None:
        """How many timesteps the scheduler has."""
        times = getattr(self.run.scheduler, "timesteps", None)
        return None if times is None else len(times)

    @property
    def kind(self) -> str:
        """What the network predicts: "epsilon", "v_prediction", "sample" or "flow"."""
        return kind_of(self.run.scheduler)

    @property
    def alpha(self) -> Tensor:
        """x = alpha * clean + sigma * noise; broadcasts with the latents."""
        return self._levels()[0]

    @property
    def sigma(self) -> Tensor:
        return self._levels()[1]

    def row(self, name: str) -> slice:
        """The batch entries of the row ``name``."""
        return row_slice(self.rows, self.samples, name)

    def part(self, name: str) -> dict[str, Any]:
        """The arguments of one row by name, with ``latents`` and ``timestep``; what rows share is in every part."""
        self.row(name)
        return self._layout().cut(self._tree(), self.rows.index(name))

    def add(self, name: str, like: str = "cond", **changes: Any) -> Call:
        """One row more, like the row ``like`` but for ``changes``: arguments by name (``latents``, ``encoder_hidden_states``,
        ``added_cond_kwargs={"text_embeds": ...}``), each with ``samples`` entries or one for all.
        """
        self.row(like)
        if name in self.rows:
            raise BadInput(f"there is a row {name!r} already (rows: {', '.join(self.rows)}): replace it or take another name")
        tree = self._layout().added(self._tree("timestep" in changes), self.rows.index(like), changes)
        return self._from(tree, (*self.rows, name))

    def replace_row(self, name: str, **changes: Any) -> Call:
        """The row ``name`` with other arguments."""
        self.row(name)
        tree = self._layout().replaced(self._tree("timestep" in changes), self.rows.index(name), changes)
        return self._from(tree, self.rows)

    def change(self, **changes: Any) -> Call:
        """Other arguments for the whole batch: ``latents``, ``timestep`` or any argument of the forward, also new ones."""
        return self._from({**self._tree(), **changes}, self.rows)

    def prediction(self, raw: Tensor, row: str | None = None) -> Prediction:
        """The network's raw output (of ``row``) as noise, clean estimate and velocity."""
        part = slice(None) if row is None else self.row(row)
        alpha, sigma = (x[part] if x.ndim and x.shape[0] == self.latents.shape[0] > 1 else x for x in self._levels())
        return Prediction(raw, self.latents[part][:, : raw.shape[1]], alpha, sigma, self.kind)

    def same(self, x: Tensor) -> Outputs:
        """``x`` in every row of the pipeline, so that its rule of combination gives ``x`` back."""
        return dict.fromkeys(self.own, x)

    def _levels(self) -> tuple[Tensor, Tensor]:
        timestep, scheduler = torch.as_tensor(self.timestep, device=self.latents.device), self.run.scheduler
        if self.latents.ndim == 3:  # transformers on packed latents are given the timestep divided by its range
            timestep = timestep * scheduler.config.num_train_timesteps
        return alpha_sigma(scheduler, timestep, self.latents.ndim)

    def _layout(self) -> Rows:
        return Rows(len(self.rows), self.samples, self.run.frames)

    def _tree(self, spread: bool = False) -> dict[str, Any]:
        timestep = self.timestep
        if spread:
            timestep = torch.as_tensor(timestep, device=self.latents.device).expand(self.latents.shape[0])
        return {"latents": self.latents, "timestep": timestep, **self.kwargs}

    def _from(self, tree: dict[str, Any], rows: tuple[str, ...]) -> Call:
        rest = {k: v for k, v in tree.items() if k not in ("latents", "timestep")}
        return replace(self, latents=tree["latents"], timestep=tree["timestep"], kwargs=rest, rows=rows)


Before = Callable[[Call], Call | None]
After = Callable[[Call, Outputs], Outputs | None]


@dataclass(frozen=True, eq=False)
class Editor:
    before: Before | None
    after: After | None
    name: str


class DenoiserSeam:
    """Editors of one denoiser: before in order of entry, after in reverse order."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.editors: list[Editor] = []

    @contextmanager
    def __call__(self, before: Before | None = None, after: After | None = None, name: str = "") -> Iterator[None]:
        """``before(call)`` gives another call or None. ``after(call, outputs)`` sees the raw output (samples, C, h, w) of every
        row (``call.kind`` says what it is) and gives the rows that change, or None; the pipeline gets its own rows back.
        """
        if before is None and after is None:
            raise BadInput("a denoiser seam needs an editor: before or after")
        editor = Editor(before, after, name)
        with self.state.open():
            self.editors.append(editor)
            self.state.before, self.state.after = self._before, self._after
            try:
                yield
            finally:
                self.editors.remove(editor)
                if not self.editors:
                    self.state.before = self.state.after = None

    def _before(self, run: Run, named: dict[str, Any]) -> dict[str, Any] | None:
        name = next(iter(named))
        rest = {k: v for k, v in named.items() if k not in (name, "timestep")}
        original = Call(named[name], named.get("timestep"), rest, run.rows, run.rows, run, self.state.guidance_scale)
        call = original
        with self.state.edits():
            for editor in self.editors:
                changed = editor.before(call) if editor.before is not None else None
                if changed is None:
                    continue
                if not isinstance(changed, Call):
                    raise BadInput(f"{editor.name or 'before'} gave a {type(changed).__name__}: give a Call or None")
                call = changed
        run.call = call
        if call is original:
            return None
        run.resize(call.rows, call.latents)
        return {name: call.latents, "timestep": call.timestep, **call.kwargs}

    def _after(self, run: Run, output: Any) -> Any:
        call, run.call = run.call, None
        raw = first(output)
        channels = learned_variance(self.state.denoiser, raw)
        outputs = {name: raw[call.row(name)][:, :channels] for name in call.rows}
        touched = call.rows != call.own
        with self.state.edits():
            for editor in reversed(self.editors):
                changed = editor.after(call, dict(outputs)) if editor.after is not None else None
                if changed is not None:
                    _check(call, outputs, changed, editor.name)
                    outputs, touched = {**outputs, **changed}, True
        if not touched:
            return None
        own = torch.cat([outputs[name] for name in call.own])
        if raw.shape[1] > channels:
            own = torch.cat([own, torch.cat([raw[call.row(name)][:, channels:] for name in call.own])], dim=1)
        return with_first(output, own)


def learned_variance(denoiser: Any, raw: Tensor) -> int:
    """How many of the output's channels are the prediction: half of them where the network also predicts a variance."""
    config = getattr(denoiser, "config", None)
    given, taken = getattr(config, "out_channels", None), getattr(config, "in_channels", None)
    return taken if taken is not None and given == 2 * taken and raw.shape[1] == given else raw.shape[1]


def _check(call: Call, outputs: Outputs, changed: Any, name: str) -> None:
    who = name or "an editor after the denoiser"
    if not isinstance(changed, dict):
        raise BadInput(f"{who} gave a {type(changed).__name__}: give a dictionary row -> tensor, or None")
    for row, x in changed.items():
        if row not in outputs:
            raise BadInput(f"{who} gave a row {row!r}; the rows are {', '.join(call.rows)}")
        if x.shape[:2] != outputs[row].shape[:2]:
            raise BadInput(f"{who} gave {tuple(x.shape)} for the row {row!r}; {tuple(outputs[row].shape)} is needed")
