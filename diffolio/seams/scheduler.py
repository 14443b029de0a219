"""The scheduler seam: edit what the scheduler is given and the latents that it gives, and end sampling early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, NoReturn

from torch import Tensor

from diffolio.errors import BadInput, Unsupported
from diffolio.seams.features import first, with_first
from diffolio.seams.run import step_of
from diffolio.seams.state import State

Before = Callable[[int, Tensor, Any, Tensor], tuple[Tensor, Tensor] | None]
After = Callable[[int, Any, Tensor], Tensor | None]


class StopSampling(Exception):
    """Raised inside a pipeline to end sampling; ``latents`` are the result."""

    def __init__(self, latents: Tensor) -> None:
        super().__init__("sampling was ended early")
        self.latents = latents


def stop(latents: Tensor) -> NoReturn:
    """End sampling with ``latents`` (B, C, h, w). May be called in any editor."""
    raise StopSampling(latents)


@dataclass(frozen=True, eq=False)
class Editor:
    before: Before | None
    after: After | None


class SchedulerSeam:
    """Editors around ``scheduler.step``: before in order of entry, after in reverse order."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.editors: list[Editor] = []

    @contextmanager
    def __call__(self, before: Before | None = None, after: After | None = None) -> Iterator[None]:
        """``before(step, output, timestep, latents)`` gives (output, latents) or None; ``output`` is what the pipeline combined
        from all rows. ``after(step, timestep, previous)`` gives the latents of the next step or None.
        """
        if before is None and after is None:
            raise BadInput("a scheduler seam needs an editor: before or after")
        editor = Editor(before, after)
        with self.state.open():
            if not self.editors:
                self._put_on()
            self.editors.append(editor)
            try:
                yield
            finally:
                self.editors.remove(editor)
                if not self.editors:
                    self._take_off()

    def _put_on(self) -> None:
        scheduler = self.state.scheduler
        if scheduler is None:
            raise Unsupported(f"{type(self.state.pipeline).__name__} has no .scheduler: there is no step to edit")
        original = scheduler.step

        # `wraps` keeps the signature: pipelines look there for `eta` and `generator`.
        @wraps(original)
        def step(model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.state.muted:
                return original(model_output, timestep, sample, *args, **kwargs)
            index = step_of(scheduler, float(timestep))
            model_output, sample = self._before(index, model_output, timestep, sample)
            result = original(model_output, timestep, sample, *args, **kwargs)
            return self._after(index, timestep, result)

        scheduler.step = step
        self.state.wrapped_scheduler = scheduler

    def _take_off(self) -> None:
        del self.state.wrapped_scheduler.step
        self.state.wrapped_scheduler = None

    def _before(self, index: int, output: Tensor, timestep: Any, latents: Tensor) -> tuple[Tensor, Tensor]:
        for editor in self.editors:
            changed = editor.before(index, output, timestep, latents) if editor.before is not None else None
            if changed is not None:
                output, latents = changed
        return output, latents

    def _after(self, index: int, timestep: Any, result: Any) -> Any:
        for editor in reversed(self.editors):
            changed = editor.after(index, timestep, first(result)) if editor.after is not None else None
            if changed is not None:
                result = with_first(result, changed)
        return result
