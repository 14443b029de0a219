"""``torch.compile``: hooks added after compilation are not seen by compiled code, so seams run the network uncompiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


def is_compiled(denoiser: nn.Module, pipeline: Any = None) -> bool:
    """Whether the network or a part of it goes through ``torch.compile``."""
    outer = (getattr(pipeline, "unet", None), getattr(pipeline, "transformer", None))
    if any(hasattr(module, "_orig_mod") for module in outer):
        return True
    return any(m._compiled_call_impl is not None or hasattr(m, "_orig_mod") for m in denoiser.modules())


_eager_users = 0
_eager_stance = ExitStack()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Compiled code is not used inside. The stance is global to the process, so users of it are counted."""
    global _eager_users
    if _eager_users == 0:
        _eager_stance.enter_context(torch.compiler.set_stance("force_eager"))
    _eager_users += 1
    try:
        yield
    finally:
        _eager_users -= 1
        if _eager_users == 0:
            _eager_stance.close()
