"""The feature seam: edit what modules are given and what they give, or stand in for their forward."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

from torch import Tensor, nn

from diffolio.errors import BadInput, unknown
from diffolio.seams.sites import Site
from diffolio.seams.state import State

Edit = Callable[[Site, Tensor], Tensor | None]
EditArguments = Callable[[Site, dict[str, Any]], dict[str, Any] | None]
Around = Callable[..., Any]
Paths = str | Iterable[str] | Callable[[str, nn.Module], bool]


class FeatureSeam:
    """Editors of module inputs, outputs and forwards of one denoiser."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._around: dict[nn.Module, list[Around]] = {}

    @contextmanager
    def outputs(self, edit: Edit, paths: Paths) -> Iterator[None]:
        """``edit(site, output)`` gives another output or None. Of a tuple or an output object, the first tensor is edited."""

        def hook(path: str, module: nn.Module, args: Any, output: Any) -> Any:
            if self.state.muted:
                return None
            x = first(output)
            changed = edit(self.site(path, x), x)
            return None if changed is None else with_first(output, changed)

        with self._hooked(paths, lambda path, module: module.register_forward_hook(partial(hook, path))):
            yield

    @contextmanager
    def arguments(self, edit: EditArguments, paths: Paths) -> Iterator[None]:
        """``edit(site, arguments)`` gives the arguments that change, by name, or None."""

        def hook(path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if self.state.muted:
                return None
            names = [p.name for p in inspect.signature(type(module).forward).parameters.values()][1:]
            named = dict(zip(names, args, strict=False)) | kwargs
            x = next((v for v in named.values() if isinstance(v, Tensor)), None)
            changes = edit(self.site(path, x), named)
            if not changes:
                return None
            return tuple(changes.get(n, v) for n, v in zip(names, args, strict=False)), {
                **kwargs,
                **{n: v for n, v in changes.items() if n not in names[: len(args)]},
            }

        with self._hooked(paths, lambda path, m: m.register_forward_pre_hook(partial(hook, path), with_kwargs=True)):
            yield

    def inputs(self, edit: Edit, paths: Paths) -> Any:
        """``edit(site, x)`` on the first tensor that a module is given."""

        def edit_first(site: Site, named: dict[str, Any]) -> dict[str, Any] | None:
            name = next(n for n, v in named.items() if isinstance(v, Tensor))
            changed = edit(site, named[name])
            return None if changed is None else {name: changed}

        return self.arguments(edit_first, paths)

    @contextmanager
    def around(self, stand_in: Around, paths: Paths) -> Iterator[None]:
        """``stand_in(site, forward, *args, **kwargs)`` gives the module's output; it may call ``forward`` or not.

        Several of them nest: the last one entered is the outermost.
        """
        with self.state.open(), ExitStack() as stack:
            for path, module in self.modules(paths):
                stack.enter_context(self._wrapped(path, module, stand_in))
            yield

    def modules(self, paths: Paths) -> list[tuple[str, nn.Module]]:
        """The modules of the denoiser at ``paths``: exact paths, patterns with ``*``, or a predicate (path, module)."""
        known = dict(self.state.denoiser.named_modules())
        if callable(paths):
            found = [(path, module) for path, module in known.items() if path and paths(path, module)]
            if not found:
                raise BadInput("the predicate chose no module of the denoiser")
            return found
        wanted = [paths] if isinstance(paths, str) else list(paths)
        chosen: dict[str, nn.Module] = {}
        for pattern in wanted:
            hits = fnmatch.filter(known, pattern)
            if not hits:
                raise unknown("module", pattern, known, "See `seams.state.denoiser.named_modules()`.")
            chosen.update({path: known[path] for path in hits})
        return list(chosen.items())

    def site(self, path: str, x: Tensor | None) -> Site:
        """The site of a module whose feature is ``x`` (rows * samples, C, h, w) or (rows * samples, tokens, C)."""
        run = self.state.run
        batch = x.shape[0] if x is not None and x.ndim else 1
        if run is None:
            return Site(path, "module", samples=batch)
        grid: tuple[int, ...] | None = None
        tokens = 0
        if x is not None and x.ndim == 4:
            grid, tokens = (x.shape[2], x.shape[3]), x.shape[2] * x.shape[3]
        elif x is not None and x.ndim == 3:
            grid, tokens = run.grid(x.shape[1], batch, path), x.shape[1]
        samples = batch // len(run.rows) if batch % len(run.rows) == 0 else 0
        return Site(path, "module", 0, grid, run.step, run.timestep, run.rows, samples, None, tokens)

    @contextmanager
    def _hooked(self, paths: Paths, register: Callable[[str, nn.Module], Any]) -> Iterator[None]:
        with self.state.open(), ExitStack() as stack:
            for path, module in self.modules(paths):
                stack.callback(register(path, module).remove)
            yield

    @contextmanager
    def _wrapped(self, path: str, module: nn.Module, stand_in: Around) -> Iterator[None]:
        """``module.forward`` is an instance attribute that reads the list of stand-ins, as long as there are any."""
        if module not in self._around:
            self._put_on(path, module)
        around = self._around[module]
        around.append(stand_in)
        try:
            yield
        finally:
            around.remove(stand_in)
            if not around:
                self._take_off(path, module)

    def _put_on(self, path: str, module: nn.Module) -> None:
        original, around = module.forward, self._around.setdefault(module, [])

        @wraps(original)
        def forward(*args: Any, **kwargs: Any) -> Any:
            call = original
            if not self.state.muted:
                site = self.site(path, next((v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), None))
                for stand_in in around:
                    call = partial(stand_in, site, call)
            return call(*args, **kwargs)

        forward.had = module.__dict__.get("forward")  # type: ignore[attr-defined]
        module.forward = forward  # type: ignore[method-assign]
        self.state.replaced.add(path)

    def _take_off(self, path: str, module: nn.Module) -> None:
        had = module.forward.had  # type: ignore[attr-defined]
        if had is None:
            del module.forward
        else:  # somebody else's wrapper, such as accelerate's offloading
            module.forward = had
        del self._around[module]
        self.state.replaced.discard(path)


def first(output: Any) -> Tensor:
    """The tensor itself, the first of a tuple, or the first field of an output object."""
    if isinstance(output, Tensor):
        return output
    return next(iter(output.values())) if isinstance(output, dict) else output[0]


def with_first(output: Any, changed: Any) -> Any:
    """The same kind of output with its first tensor replaced; the given one stays as it is."""
    if isinstance(output, Tensor):
        return changed
    if isinstance(output, dict):  # diffusers' output objects are ordered dictionaries
        return type(output)(**{**output, next(iter(output)): changed})
    return (changed, *output[1:])
