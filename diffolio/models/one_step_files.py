"""One-step generators on disk: what they learned, and of which base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from diffolio.errors import BadInput
from diffolio.models.fingerprint import check_base, fingerprint
from diffolio.models.one_step import OneStepGenerator

if TYPE_CHECKING:
    from diffolio.models.model import Model

WEIGHTS, RECORD = "one_step.safetensors", "one_step.json"


def save_one_step(generator: OneStepGenerator, folder: str | Path) -> Path:
    """Write the learned weights and the settings to ``folder``, in one move: float16, the skips in float32, whose weights are
    near 1e-5 and would lose their digits. Returns the folder."""
    from safetensors.torch import save_file

    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kept = {
        name: weight.detach().to(torch.float32 if name.startswith("skips.") else torch.float16).contiguous().cpu()
        for name, weight in generator.learned().items()
    }
    save_file(kept, partial / WEIGHTS)
    model = generator.model
    record = {
        "settings": generator.settings, "base": model.name, "unet": fingerprint(model.denoiser), "vae": fingerprint(model.vae)
    }  # fmt: skip
    (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def load_one_step(folder: str | Path, model: Model, any_base: bool = False) -> OneStepGenerator:
    """The generator in ``folder`` on its base, not trainable; refused for another base (``any_base`` lifts that)."""
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
        settings, base, recorded = record["settings"], record["base"], (record["unet"], record["vae"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{folder} holds no one-step generator: it needs {WEIGHTS} and {RECORD} ({error})") from error
    for part, known in zip((model.denoiser, model.vae), recorded, strict=True):
        check_base(part, known, f"the generator in {folder}", base, any_base)
    generator = OneStepGenerator(model, **settings)
    learned = generator.learned()
    if set(learned) != set(weights):
        raise BadInput(f"the generator in {folder} does not fit {model.name}: {sorted(set(learned) ^ set(weights))[:3]}")
    with torch.no_grad():
        for name, parameter in learned.items():
            parameter.copy_(weights[name])
    return generator.eval().requires_grad_(False)
