"""How each bundled miniature is trained: its objective, its settings and its usual budget, in one command each."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from diffolio import miniatures
from diffolio.errors import BadInput, unknown
from diffolio.knobs import hints, parse_value
from diffolio.training.loop import Budget, Settings, Trained, train

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


@dataclass(frozen=True)
class Plan:
    """What ``diffolio train NAME`` runs for a miniature."""

    make: Callable[[], Any]
    settings: Settings
    budget: Budget


def _vae() -> AutoencoderKL:
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(miniatures.folder("mini-vae"), torch_dtype=torch.float32)


def _mini_vae() -> Any:
    from diffolio.miniatures.vae import MiniVAE

    return MiniVAE()


def _mini_vae_decoder() -> Any:
    from diffolio.miniatures.vae import MiniVAEDecoder

    return MiniVAEDecoder(_vae())


def _mini_vq_tokenizer() -> Any:
    from diffolio.miniatures.tokenizers import MiniVQTokenizer

    return MiniVQTokenizer(_vae())


def _mini_var_tokenizer() -> Any:
    from diffolio.miniatures.tokenizers import MiniBitwiseTokenizer

    return MiniBitwiseTokenizer(_vae())


def _mini_vq() -> Any:
    from diffusers import VQModel

    from diffolio.miniatures.vq import MiniVQ

    return MiniVQ(VQModel.from_pretrained(_part("mini-vq-tokenizer", "mini-vq", "vqvae"), torch_dtype=torch.float32))


def _mini_var() -> Any:
    from diffolio.miniatures.var import MiniVAR
    from diffolio.nets.bitwise import BitwiseTokenizer

    folder = _part("mini-var-tokenizer", "mini-var", "autoencoder")
    return MiniVAR(BitwiseTokenizer.from_pretrained(folder, torch_dtype=torch.float32))


def _part(name: str, whole: str, inside: str) -> Path:
    """A part that is trained on its own and shipped inside another miniature: fresh from ``runs/``, else the shipped one."""
    fresh = Path("runs") / name / "export"
    if fresh.is_dir():
        return fresh
    if whole in miniatures.available():
        return miniatures.folder(whole) / inside
    raise BadInput(
        f"{whole} is trained on the {name}, which is neither in {fresh} nor bundled: run `diffolio train {name}` first"
    )


def _mini_sd() -> Any:
    from diffolio.miniatures.sd import MiniSD

    return MiniSD(_vae())


def _mini_flow() -> Any:
    from diffolio.miniatures.flow import MiniFlow

    return MiniFlow(_vae())


def _mini_turbo() -> Any:
    from diffolio.models import load
    from diffolio.training.turbo import MiniTurbo

    return MiniTurbo(load("mini-sd"))


def _mini_video() -> Any:
    from diffolio.miniatures.video import MiniVideo

    return MiniVideo(_vae())


def _mini_pixel() -> Any:
    from diffolio.miniatures.pixel import MiniPixel

    return MiniPixel()


def _mini_sd_mem() -> Any:
    from diffolio.miniatures.memory import MiniSDMem

    return MiniSDMem(miniatures.folder("mini-sd"))


def _mini_clip(copy: str) -> Any:
    from diffolio.miniatures.clip import MiniCLIP

    return MiniCLIP(copy)


def _mini_perc(copy: str) -> Any:
    from diffolio.miniatures.perc import MiniPerc

    return MiniPerc(copy)


CLIP = Settings(rate=1e-3, warmup=200, weight_decay=0.02, decay=0.998)
PERC = Settings(rate=1e-3, warmup=50, decay=0.995, every=200, bfloat16=True)
PLANS: dict[str, Plan] = {
    "mini-vae": Plan(_mini_vae, Settings(rate=2e-3, every=300, decay=0.998, bfloat16=True), Budget(steps=3000)),
    "mini-vae-decoder": Plan(_mini_vae_decoder, Settings(rate=1e-3, every=300, decay=0.998, bfloat16=True), Budget(steps=600)),
    "mini-sd": Plan(_mini_sd, Settings(rate=8e-4, warmup=200, decay=0.9995, every=300), Budget(steps=20_000)),
    "mini-flow": Plan(_mini_flow, Settings(rate=1e-3, warmup=300, decay=0.9995, every=500), Budget(steps=30_000)),
    "mini-turbo": Plan(_mini_turbo, Settings(rate=5e-4, warmup=50, decay=0.995, every=200), Budget(steps=5000)),
    "mini-video": Plan(_mini_video, Settings(rate=1e-3, warmup=300, decay=0.9995, every=500), Budget(steps=20_000)),
    "mini-pixel": Plan(_mini_pixel, Settings(rate=6e-4, warmup=200, decay=0.9995, every=500), Budget(steps=20_000)),
    "mini-vq-tokenizer": Plan(_mini_vq_tokenizer, Settings(rate=3e-4, warmup=20, decay=0.98, every=100), Budget(steps=60)),
    "mini-var-tokenizer": Plan(_mini_var_tokenizer, Settings(rate=2e-3, decay=0.98, every=500), Budget(steps=2640)),
    "mini-vq": Plan(_mini_vq, Settings(rate=1e-3, warmup=300, decay=0.9995, every=500), Budget(steps=12_000)),
    "mini-var": Plan(_mini_var, Settings(rate=1e-3, warmup=300, decay=0.9995, every=500), Budget(steps=12_000)),
    "mini-sd-mem": Plan(_mini_sd_mem, Settings(rate=2e-3, warmup=50, decay=0.99, every=200), Budget(steps=1500)),
    "mini-clip-a": Plan(lambda: _mini_clip("a"), CLIP, Budget(steps=3000)),
    "mini-clip-b": Plan(lambda: _mini_clip("b"), CLIP, Budget(steps=3000)),
    "mini-perc-a": Plan(lambda: _mini_perc("a"), PERC, Budget(steps=1000)),
    "mini-perc-b": Plan(lambda: _mini_perc("b"), PERC, Budget(steps=1000)),
}


def start_from(objective: Any, place: str | Path) -> None:
    """Put the weights of a finished miniature (a bundled name, or a folder that ``train_miniature`` wrote) into ``objective``.

    Raises BadInput if they are of another architecture; the objective is of no use then.
    """
    folder = Path(place)
    if not folder.exists():
        folder = miniatures.folder(str(place))
    folder = folder / "export" if (folder / "export").is_dir() else folder
    if hasattr(objective, "start_from"):
        objective.start_from(folder)
        return
    for name, module in objective.modules.items():
        part = folder / name if (folder / name).is_dir() else folder
        try:
            # The class's own reader knows its files' names and which weights are tied.
            module.load_state_dict(type(module).from_pretrained(part, torch_dtype=torch.float32).state_dict())
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise BadInput(
                f"{place} holds no {name} ({type(module).__name__}) of this architecture to start from: {str(error).splitlines()[0]}"
            ) from error


def train_miniature(
    name: str, folder: Path, budget: Budget | None = None, *, start: str | Path | None = None, resume: bool = False,
    seed: int = 0, changes: Mapping[str, str] | None = None, progress: bool = True,
) -> Trained:  # fmt: skip
    """Train a miniature and write its weights to ``folder/export`` in ordinary diffusers or transformers format.

    ``start``: finished weights to go on from (``start_from``); its optimiser begins anew. A checkpoint that is resumed goes first.
    ``changes``: other values, as text, of the plan's ``Settings`` or of ``batch``: a GPU has room for more than the CPU's batch.
    """
    plan, changes = PLANS[name], dict(changes or {})
    settings, batch = changed(name, plan.settings, changes)
    torch.manual_seed(seed)  # initial weights
    objective = plan.make()
    if batch is not None:
        objective.batch = batch
    if start is not None:
        start_from(objective, start)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trained = train(
        objective, folder, budget or plan.budget, settings, seed=seed, resume=resume, device=device, progress=progress,
        start=Path(start).name if start is not None else None,
    )  # fmt: skip
    for module in objective.modules.values():
        module.eval()
    objective.export(folder / "export")
    miniatures.portable(folder / "export")
    record_training(name, trained, seed=seed, changes=changes)
    return trained


def changed(name: str, settings: Settings, changes: Mapping[str, str]) -> tuple[Settings, int | None]:
    """The settings with ``changes``, and the batch if that is among them. UnknownName or BadKnob for what cannot be changed so."""
    types = {"batch": int, **{key: hint for key, hint in hints(Settings).items() if hint in (int, float, bool)}}
    for key in changes:
        if key not in types:
            raise unknown(f"setting of {name}'s training", key, types)
    values = {key: parse_value(name, key, text, types[key]) for key, text in changes.items()}
    batch = values.pop("batch", None)
    if batch is not None and batch < 1:
        raise BadInput(f"{name}: batch={batch}: give at least 1")
    return dataclasses.replace(settings, **values), batch


def record_training(name: str, trained: Trained, *, seed: int = 0, changes: Mapping[str, str] | None = None) -> None:
    """Write beside the weights what made them: ``training.json`` and the log, ``training.csv``."""
    from diffolio.results import versions

    command = f"diffolio train {name} --budget {trained.steps}"
    command += (f" --model {trained.start}" if trained.start else "") + (f" --seed {seed}" if seed else "")
    command += "".join(f" --set {key}={value}" for key, value in (changes or {}).items())
    about = {
        "command": command, "steps": trained.steps, "seconds": round(trained.seconds), "seed": seed,
        "settings": dataclasses.asdict(changed(name, PLANS[name].settings, changes or {})[0]), "versions": versions(),
    }  # fmt: skip
    export = trained.folder / "export"
    (export / miniatures.TRAINING).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(trained.log, export / miniatures.LOG)
