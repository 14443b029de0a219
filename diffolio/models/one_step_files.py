"""One-step generators on disk: what they learned, and of which base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from diffolio.errors import BadInput
from diffolio.models.fingerprint import check_base, fingerprint
from diffolio.models.one_step import OneStepGenerator

if TYPE_CHECKING:
    from diffolio.models.model import Model

WEIGHTS, RECORD = "one_step.safetensors", "one_step.json"


def save_one_step(generator: OneStepGenerator, folder: str | Path, about: dict[str, Any] | None = None) -> Path:
    """Write the learned weights and the settings to ``folder``, in one move: float16, the skips in float32, whose weights are
    near 1e-5 and would lose their digits. ``about`` is recorded beside them: how they were trained. Returns the folder."""
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
        "settings": generator.settings, "base": model.name, "unet": fingerprint(model.denoiser), "vae": fingerprint(model.vae),
        "about": about or {},
    }  # fmt: skip
    (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def load_one_step(folder: str | Path, model: Model, any_base: bool = False) -> OneStepGenerator:
    """The generator in ``folder`` on its base, not trainable; refused for another base (``any_base`` lifts that)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    record = read_record(folder)
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(f"{folder} holds no one-step generator: {WEIGHTS} cannot be read ({error})") from error
    settings, base, recorded = record["settings"], record["base"], (record["unet"], record["vae"])
    for part, known in zip((model.denoiser, model.vae), recorded, strict=True):
        check_base(part, known, f"the generator in {folder}", base, any_base)
    generator = OneStepGenerator(model, **settings)
    learned = generator.learned()
    if set(learned) != set(weights):
        raise BadInput(f"the generator in {folder} does not fit {model.name}: {sorted(set(learned) ^ set(weights))[:3]}")
    with torch.no_grad():
        for name, parameter in learned.items():
            parameter.copy_(weights[name])
    generator.about = record["about"]
    return generator.eval().requires_grad_(False)


def read_record(folder: str | Path) -> dict[str, Any]:
    """ "settings", "base" (its name), "unet" and "vae" (its fingerprints) and "about" of the generator in ``folder``."""
    path = Path(folder) / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"about": {}, **{key: record[key] for key in ("settings", "base", "unet", "vae")}, **record}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder} holds no one-step generator: it needs {WEIGHTS} and {RECORD} ({error})") from error


def base_for(folder: str | Path, model: Model) -> Model:
    """``model`` if the generator in ``folder`` was trained on it, else the bundled model that it was trained on, if it is one.

    BadInput where it is neither: which base is needed is said.
    """
    from diffolio import miniatures
    from diffolio.models.loading import load

    record = read_record(folder)
    if fingerprint(model.denoiser) == record["unet"]:
        return model
    if record["base"] in miniatures.available():
        return load(record["base"], device=model.device)
    raise BadInput(f"the generator in {folder} was trained on {record['base']}, not on {model.name}: give that with --model")
