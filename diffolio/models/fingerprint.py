"""Which network an adapter was trained on, told from its weights: the same for a folder and a hub id, on disk and in memory."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from diffolio.errors import BadInput

READ = 64  # values of each tensor


def fingerprint(network: nn.Module) -> str:
    """A checksum of the first values of every weight, in float16, so that a half-precision copy has the same one.

    LoRA layers on the network are left out. A fine-tune has another fingerprint, as has bfloat16, which rounds further.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted((name.replace(".base_layer", ""), tensor) for name, tensor in network.state_dict().items()):
        if "lora_" in name:
            continue
        values = tensor.detach().flatten()[:READ].to("cpu", torch.float32).half()
        digest.update(f"{name} {tuple(tensor.shape)}".encode() + values.numpy().tobytes())
    return digest.hexdigest()[:32]


def check_base(network: Any, recorded: str, what: str, base: str, any_base: bool = False) -> None:
    """BadInput unless ``network`` is what ``what`` was trained on (``base``: its name then), or ``any_base`` is asked for."""
    if not any_base and fingerprint(network) != recorded:
        raise BadInput(
            f"{what} was trained on {base}, and this {type(network).__name__} has other weights: load that base, "
            "or give any_base=True to try it on a fine-tune of the same architecture"
        )
