"""What every seam knows of the run: which forward is going on, of which rows, at which step."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, Unsupported
from diffolio.seams.compiled import is_compiled, uncompiled
from diffolio.seams.run import Run

GUIDED = ("uncond", "cond")
PLAIN = ("cond",)
Arguments = dict[str, Any]


class State:
    """The pipeline's parts as they are now, the run going on, and the hooks on the denoiser that tell of it.

    Hooks are on the denoiser only while at least one seam is open. A compiled denoiser runs uncompiled meanwhile: hooks added
    after compilation would not be seen by the compiled code, and an edit must never be lost silently.
    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.runs: list[Run | None] = []
        self.last: Run | None = None
        self.muted = 0
        self.editing = 0
        self.replaced: set[str] = set()
        self.wrapped_scheduler: Any = None
        self.before: Callable[[Run, Arguments], Arguments | None] | None = None
        self.after: Callable[[Run, Any], Any] | None = None
        self.drains: list[Callable[[], None]] = []
        self._named_rows: list[tuple[tuple[str, ...], float | None, list[str] | None]] = []
        self._open = 0
        self._installed = ExitStack()

    @property
    def denoiser(self) -> nn.Module:
        """The UNet or transformer, without the wrapper of ``torch.compile``."""
        # No truth values here: a compiled module asks its length.
        modules = [getattr(self.pipeline, name, None) for name in ("unet", "transformer")]
        module = next((m for m in modules if m is not None), None)
        if module is None:
            raise Unsupported(f"{type(self.pipeline).__name__} has neither .unet nor .transformer: seams reach into one of them")
        if getattr(self.pipeline, "transformer_2", None) is not None:
            raise Unsupported(f"{type(self.pipeline).__name__} has two denoisers: seams reach into pipelines with one")
        return getattr(module, "_orig_mod", module)

    @property
    def scheduler(self) -> Any:
        return getattr(self.pipeline, "scheduler", None)

    @property
    def run(self) -> Run | None:
        """The forward going on, or the last one."""
        return self.runs[-1] if self.runs and self.runs[-1] is not None else self.last

    @property
    def guidance_scale(self) -> float | None:
        if self._named_rows:
            return self._named_rows[-1][1]
        return getattr(self.pipeline, "_guidance_scale", None)

    @property
    def prompts(self) -> list[str] | None:
        """What the samples of the run were asked for; None where whoever calls the network does not say."""
        return self._named_rows[-1][2] if self._named_rows else None

    @contextmanager
    def rows(
        self, names: tuple[str, ...], guidance_scale: float | None = None, prompts: Sequence[str] | None = None
    ) -> Iterator[None]:
        """Every forward inside has these rows."""
        if not names or len(set(names)) != len(names):
            raise BadInput(f"rows {names!r}: give at least one name, each once")
        self._named_rows.append((tuple(names), guidance_scale, None if prompts is None else list(prompts)))
        try:
            yield
        finally:
            self._named_rows.pop()

    @contextmanager
    def edits(self) -> Iterator[None]:
        """An editor is running: a forward of the same network inside it is shown to no denoiser editor."""
        self.editing += 1
        try:
            yield
        finally:
            self.editing -= 1

    @contextmanager
    def open(self) -> Iterator[None]:
        """A seam is open: the denoiser's hooks are on."""
        if self._open == 0:
            self._install()
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if self._open == 0:
                self._installed.close()
                self.drain()
                self.last = None

    def drain(self) -> None:
        """Forget runs that were cut off by an interrupt, after which PyTorch calls no hooks."""
        for drain in self.drains:
            drain()
        self.runs.clear()

    def _install(self) -> None:
        denoiser = self.denoiser
        if is_compiled(denoiser, self.pipeline):
            warnings.warn("the denoiser is compiled: it runs uncompiled while a seam is open", RuntimeWarning, stacklevel=6)
            self._installed.enter_context(uncompiled())
        for handle in (
            denoiser.register_forward_pre_hook(self._begin, with_kwargs=True),
            denoiser.register_forward_hook(self._end, with_kwargs=True, always_call=True),
        ):
            self._installed.callback(handle.remove)

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Arguments) -> tuple[tuple[()], Arguments] | None:
        if not self.editing:
            self.drain()
        self.runs.append(None)
        if self.wrapped_scheduler is not None and self.wrapped_scheduler is not self.scheduler:
            raise Unsupported("the scheduler was replaced while a scheduler seam was open: replace it before entering the seam")
        names = list(inspect.signature(type(module).forward).parameters)[1:]
        named = dict(zip(names, args, strict=False)) | kwargs
        latents = named[names[0]]
        named = {names[0]: latents, **named}
        run = Run(self.denoiser, self.scheduler, latents, named.get("timestep"), self._rows_of(latents, named), named)
        self.runs[-1] = self.last = run
        if self.before is None or self.muted or self.editing:
            return None
        changed = self.before(run, named)
        return None if changed is None else ((), changed)

    def _end(self, module: nn.Module, args: tuple[Any, ...], kwargs: Arguments, output: Any) -> Any:
        run = self.runs.pop() if self.runs else None
        if run is None or output is None or self.after is None or self.muted or self.editing:
            return None
        return self.after(run, output)

    def _rows_of(self, latents: Tensor, named: Arguments) -> tuple[str, ...]:
        batch = latents.shape[0]
        if self._named_rows:
            rows = self._named_rows[-1][0]
            if batch % len(rows):
                raise BadInput(f"a batch of {batch} cannot hold the rows {rows}: it must be a multiple of {len(rows)}")
            return rows
        if named.get("skip_layers") is not None:  # SD3's skip-layer guidance: a second, conditional forward
            return PLAIN
        guided = _is_guided(self.pipeline)
        if guided is False:
            return PLAIN
        # Guidance repeats the latents; some pipelines keep no other trace of it.
        twins = batch % 2 == 0 and torch.equal(latents[: batch // 2], latents[batch // 2 :])
        if guided and not twins:
            raise Unsupported(
                f"the pipeline guides, but its batch of {batch} is not an unconditional and a conditional half: "
                'say what it is with `with seams.rows(("uncond", "cond")):` (one name for each block of the batch)'
            )
        return GUIDED if twins else PLAIN


def _is_guided(pipeline: Any) -> bool | None:
    try:
        return bool(pipeline.do_classifier_free_guidance)
    except (AttributeError, TypeError):  # no such property, or read before the first call
        return None
