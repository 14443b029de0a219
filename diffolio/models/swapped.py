"""Some weights of a network exchanged for trained ones, for as long as a block lasts: what a fine-tune of a part of it ships."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.models.fingerprint import check_base, fingerprint

if TYPE_CHECKING:
    from diffolio.models.model import Model

WEIGHTS, RECORD = "weights.safetensors", "weights.json"


@contextmanager
def swapped(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The parameters named in ``weights`` hold those values inside, in their own type and place; afterwards, also by an exception,
    they are the very tensors they were."""
    own = dict(network.named_parameters())
    strange = [name for name, value in weights.items() if name not in own or own[name].shape != value.shape]
    if strange:
        raise BadInput(
            f"trained weights do not fit this {type(network).__name__}: {strange[:3]}; use the base they were trained on"
        )
    before = {name: own[name].data for name in weights}
    try:
        with torch.no_grad():
            for name, value in weights.items():
                own[name].data = value.to(own[name])
        yield
    finally:
        for name, value in before.items():
            own[name].data = value


def save_weights(folder: Path, model: Model, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> Path:
    """Write trained weights of the model's denoiser (float16) and a record of them to ``folder``, in one move. ``model`` is the untouched
    base."""
    from safetensors.torch import save_file

    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: w.detach().half().contiguous().cpu() for name, w in weights.items()}, partial / WEIGHTS)
    record = {**about, "base": model.name, "fingerprint": fingerprint(model.denoiser)}
    (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def load_weights(folder: str | Path, model: Model, any_base: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What ``save_weights`` wrote, float32 on the model's device, and its record; BadInput for another base (``any_base`` lifts that)."""
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        about = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        weights = {name: w.float().to(model.device) for name, w in load_file(folder / WEIGHTS).items()}
        base, recorded = str(about["base"]), str(about["fingerprint"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{folder} holds no trained weights: it needs {WEIGHTS} and {RECORD} ({error})") from error
    check_base(model.denoiser, recorded, f"what lies in {folder}", base, any_base)
    return weights, about
