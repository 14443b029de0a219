"""Which techniques work together: every pair, in both orders, run on a model; each stacks or is a declared conflict.

``matrix()`` gives it as data, ``record`` writes it to ``evidence/combinations.json``; the page shows it.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio import miniatures, registry
from diffolio.claims.evidence import evidence_folder
from diffolio.errors import BadInput, Conflict, DiffolioError, Unsupported
from diffolio.results import plain, versions

if TYPE_CHECKING:
    from diffolio.models import Model

PROMPTS = ("a red circle", "a blue star", "a green tree")  # a sequence of three, for techniques that act between pictures
STEPS, SEED = 2, 950_000
MODELS = ("mini-sd", "mini-flow", "mini-video", "mini-vq", "mini-turbo", "mini-pixel")


@dataclass(frozen=True)
class Verdict:
    """``outcome``: "stacks", "conflict" (refused, ``reason`` says by which place), "apart" (no model takes both) or "broken".

    ``change`` is the root mean squared difference to the plain model's pictures.
    """

    first: str
    second: str
    outcome: str
    model: str = ""
    change: float | None = None
    reason: str = ""


def techniques() -> list[str]:
    """The techniques of the registry, by name."""
    return [card.name for card in registry.cards().values() if card.kind == "technique"]


def sample(model: Model, size: int | None = None) -> Tensor:
    """The plain picture of every verdict: two guided steps of three prompts, by default half again as large as the model was trained for,
    where also techniques for other sizes have something to do."""
    multiple, largest = model._architecture.multiple(model.pipeline), model._architecture.largest(model.pipeline)
    side = size or min(model.default_size * 3 // 2 // multiple * multiple, largest or 1 << 20)
    prompts = list(PROMPTS) if model.reads_text else [""] * len(PROMPTS)
    return model.sample(prompts, seed=SEED, steps=STEPS, guidance_scale=3.0, height=side, width=side).images


def fits(model: Model, name: str, size: int | None = None) -> bool:
    """Whether a technique runs alone on a model."""
    try:
        with _made(name).on(model):
            sample(model, size)
    except Unsupported:
        return False
    return True


def try_pair(model: Model, first: str, second: str, before: Tensor | None = None, size: int | None = None) -> Verdict:
    """Two techniques at their defaults, entered in this order; ``before`` is the plain sample if it is known already.

    The outcome is "broken" where anything but a declared conflict goes wrong, or the model is not bit for bit as before.
    """
    before = sample(model, size) if before is None else before
    weights = {name: (value, value.clone()) for name, value in model.denoiser.state_dict().items()}
    both = registry.stack(_made(first), _made(second))
    reason, change = "", None
    try:
        with both.on(model):
            images = sample(model, size)
        outcome = "stacks"
        change = float((images - before).square().mean().sqrt()) if images.shape == before.shape else None
    except Conflict as error:
        outcome, reason = "conflict", str(error)
    except DiffolioError as error:
        outcome, reason = "broken", f"{type(error).__name__}: {error}"
    left = _left_behind(model, weights)
    if not left and not torch.equal(sample(model, size), before):
        left = "the model samples differently afterwards"
    return Verdict(first, second, "broken" if left else outcome, model.name, change, left or reason)


def matrix(names: Sequence[str] = (), models: Sequence[Model] = ()) -> list[Verdict]:
    """Every pair of the named techniques (default: all), both orders and each with itself, on the first model that takes both.

    Without ``models`` the bundled ones are used.
    """
    names = list(names) or techniques()
    models = list(models) or _bundled()
    alone = {name: [model for model in models if fits(model, name)] for name in names}
    plain = {id(model): sample(model) for model in models}
    found = []
    for first, second in itertools.product(names, repeat=2):
        model = next((m for m in alone[first] if m in alone[second]), None)
        if model is None:
            found.append(Verdict(first, second, "apart", reason="no bundled model takes both"))
        else:
            found.append(try_pair(model, first, second, plain[id(model)]))
    return found


def as_record(found: Sequence[Verdict]) -> dict[str, Any]:
    """The matrix as JSON: names, how often which outcome, and a verdict a pair."""
    outcomes = [verdict.outcome for verdict in found]
    return {
        "techniques": list(dict.fromkeys(verdict.first for verdict in found)),
        "outcomes": {name: outcomes.count(name) for name in ("stacks", "conflict", "apart", "broken")},
        "pairs": [vars(verdict) for verdict in found], "steps": STEPS, "seed": SEED, "prompts": PROMPTS,
        "recorded": time.strftime("%Y-%m-%d"), "versions": versions(),
    }  # fmt: skip


def record(found: Sequence[Verdict], folder: Path | None = None) -> Path:
    """Write ``combinations.json``, by default among the evidence."""
    path = (folder or evidence_folder()) / "combinations.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain(as_record(found)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write {path} ({error.strerror}): name another folder with --out") from error
    return path


def _left_behind(model: Model, weights: dict[str, tuple[Tensor, Tensor]]) -> str:
    """What of the denoiser is not as it was, or ""."""
    now = model.denoiser.state_dict()
    if now.keys() != weights.keys():
        return "the denoiser has other parameters afterwards"
    for name, (tensor, copy) in weights.items():
        if now[name].data_ptr() != tensor.data_ptr() or not torch.equal(now[name], copy):
            return f"the denoiser's {name} is not as it was"
    hooked = [path for path, module in model.denoiser.named_modules() if module._forward_hooks or module._forward_pre_hooks]
    return f"hooks are left on {hooked[0] or 'the denoiser'}" if hooked else ""


def _made(name: str) -> registry.Technique:
    made = registry.make(name)
    if not isinstance(made, registry.Technique):
        raise BadInput(f"{name} is a {made.kind}: only techniques stack")
    return made


def _bundled() -> list[Model]:
    from diffolio.models import load

    found = []
    for name in MODELS:
        if name in miniatures.available():
            try:
                found.append(load(name))
            except DiffolioError:  # not every miniature samples through a pipeline
                continue
    return found
