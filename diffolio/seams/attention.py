"""The attention seam: edit queries, keys, values, probabilities or the output of any diffusers attention.

Every diffusers attention ends in ``torch.nn.functional.scaled_dot_product_attention``. A ``TorchFunctionMode`` that is on only
while an edited attention module runs sees its projected q, k, v, whatever the architecture; no processor is replaced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from diffolio.errors import BadInput, Unsupported
from diffolio.seams.kernel import AttentionCall, softmax
from diffolio.seams.sites import Place, Site, attention_modules, place_of, text_slice
from diffolio.seams.state import State

QKV = Callable[[Site, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor] | None]
Edit = Callable[[Site, Tensor], Tensor | None]
Where = Callable[[Site], bool]
KERNEL = F.scaled_dot_product_attention


@dataclass(frozen=True, eq=False)
class Editor:
    """What one method does to attention, and where."""

    qkv: QKV | None = None
    logits: Edit | None = None
    probabilities: Edit | None = None
    output: Edit | None = None
    where: Where | None = None
    name: str = ""


@dataclass
class Frame:
    """An attention module that is running."""

    module: nn.Module
    site: Site | None = None
    editors: tuple[Editor, ...] = ()
    calls: int = 0


class AttentionSeam:
    """Editors of one denoiser's attention, in the order in which they were entered."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.editors: list[Editor] = []
        self.frames: list[Frame] = []
        self._mode = _SeeAttention(self)
        self._installed = ExitStack()
        state.drains.append(self._drain)

    @contextmanager
    def __call__(
        self,
        *,
        qkv: QKV | None = None,
        logits: Edit | None = None,
        probabilities: Edit | None = None,
        output: Edit | None = None,
        where: Where | None = None,
        name: str = "",
    ) -> Iterator[None]:
        """Edit attention inside the ``with`` block; an editor that returns None changes nothing.

        ``qkv(site, q, k, v)``: q (B, heads, Nq, d), k and v (B, heads, Nk, d), of any Nk; a mask is widened for keys that
        are added at the end. ``logits(site, x)`` and ``probabilities(site, p)``: (B, heads, Nq, Nk), computed only where
        someone asks for them (logits are scaled and masked). ``output(site, o)``: (B, heads, Nq, d).
        ``where(site)`` chooses the sites; all of them by default.
        """
        if not (qkv or logits or probabilities or output):
            raise BadInput("an attention seam needs an editor: qkv, logits, probabilities or output")
        editor = Editor(qkv, logits, probabilities, output, where, name)
        with self.state.open():
            if not self.editors:
                self._install()
            self.editors.append(editor)
            try:
                yield
            finally:
                self.editors.remove(editor)
                if not self.editors:
                    self._installed.close()

    def _install(self) -> None:
        for path, module in attention_modules(self.state.denoiser):
            before = module.register_forward_pre_hook(partial(self._enter, place_of(path, module)), with_kwargs=True)
            after = module.register_forward_hook(self._leave, always_call=True)
            self._installed.callback(before.remove)
            self._installed.callback(after.remove)

    def _enter(self, place: Place, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        frame = Frame(module)
        self.frames.append(frame)
        if self.state.muted:
            return
        site = self._site(place, module, args, kwargs)
        editors = tuple(e for e in self.editors if e.where is None or e.where(site))
        if editors:
            self._mode.__enter__()
            frame.site, frame.editors = site, editors

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self.frames or self.frames[-1].module is not module:
            return
        frame = self.frames.pop()
        if frame.site is None:
            return
        self._mode.__exit__(None, None, None)
        if output is not None and frame.calls == 0 and frame.site.path not in self.state.replaced:
            raise Unsupported(
                f"{frame.site.path} ran without scaled_dot_product_attention (processor {_processor(module)}), so that "
                "no edit can act: use `.set_default_attn_processor()` or AttnProcessor2_0, and the native attention backend"
            )

    def _drain(self) -> None:
        while self.frames:
            if self.frames.pop().site is not None:
                self._mode.__exit__(None, None, None)

    def _site(self, place: Place, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Site:
        hidden = args[0] if args else kwargs["hidden_states"]
        encoder = args[1] if len(args) > 1 else kwargs.get("encoder_hidden_states")
        encoder = encoder if isinstance(encoder, Tensor) else None
        batch, tokens = hidden.shape[0], hidden.shape[1] if hidden.ndim == 3 else math.prod(hidden.shape[2:])
        path, kind, text, heads = place.path, place.kind_with(encoder), None, place.heads
        if kind == "joint" and encoder is not None:
            text = text_slice(module, tokens, encoder.shape[1])
        run = self.state.run
        if run is None:
            return Site(path, kind, heads, samples=batch, text=text, tokens=tokens)
        if kind == "self" and place.kind != "joint" and tokens - run.text_tokens in run.grids and tokens not in run.grids:
            # A single-stream block: the text was put into the sequence before the attention module.
            kind, tokens = "joint", tokens - run.text_tokens
            text = text_slice(module, tokens, run.text_tokens)
        grid = run.grid(tokens, batch, path)
        samples = batch // len(run.rows) if batch % len(run.rows) == 0 else 0
        return Site(path, kind, heads, grid, run.step, run.timestep, run.rows, samples, text, tokens)

    def attend(self, given: AttentionCall) -> Tensor:
        """One attention call of the running module, with the editors that want it."""
        frame = self.frames[-1]
        assert frame.site is not None
        site = replace(frame.site, call=frame.calls) if frame.calls else frame.site
        frame.calls += 1
        with self.state.edits():
            call = _edit_qkv(site, frame.editors, given)
            output = _attend(site, frame.editors, call)
            output, _ = _edited(site, output, [e.output for e in frame.editors])
        if output.shape != (*given.query.shape[:-1], given.value.shape[-1]):
            names = ", ".join(e.name or "an unnamed editor" for e in frame.editors)
            raise BadInput(
                f"{site.path}: the edited attention output is {tuple(output.shape)} for queries {tuple(given.query.shape)}; "
                f"batch, heads and number of queries must stay as they are (editors: {names})"
            )
        return output


class _SeeAttention(TorchFunctionMode):
    """Hands attention calls to the seam; everything else passes."""

    def __init__(self, seam: AttentionSeam) -> None:
        super().__init__()
        self.seam = seam

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not KERNEL:  # twenty times in every attention module: nothing may be slow here
            return func(*args, **kwargs) if kwargs else func(*args)
        return self.seam.attend(AttentionCall(*args, **(kwargs or {})))


def _edit_qkv(site: Site, editors: tuple[Editor, ...], call: AttentionCall) -> AttentionCall:
    for editor in editors:
        changed = editor.qkv(site, call.query, call.key, call.value) if editor.qkv is not None else None
        if changed is not None:
            call = call.with_keys(*changed, path=site.path)
    return call


def _attend(site: Site, editors: tuple[Editor, ...], call: AttentionCall) -> Tensor:
    """The kernel's output, or the explicit one if an editor changed logits or probabilities.

    An editor that only looked at them must not change the output by a rounding either.
    """
    if not any(e.logits or e.probabilities for e in editors):
        return call.kernel()
    logits, changed = _edited(site, call.logits(), [e.logits for e in editors])
    probabilities, also = _edited(site, softmax(logits, call.value.dtype), [e.probabilities for e in editors])
    return call.weigh(probabilities) if changed or also else call.kernel()


def _edited(site: Site, x: Tensor, edits: list[Edit | None]) -> tuple[Tensor, bool]:
    """``x`` after the edits, and whether any of them gave something back."""
    changed = False
    for edit in edits:
        new = edit(site, x) if edit is not None else None
        if new is not None:
            x, changed = new, True
    return x, changed


def _processor(module: nn.Module) -> str:
    return type(getattr(module, "processor", None)).__name__
