"""Training a small score network on points: denoising score matching from one seed; several networks in one file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffolio.errors import BadInput, NotFinite
from diffolio.nets.mlp import ScoreMLP
from diffolio.process.sde import SDE


def train_score(
    data: Tensor,
    sde: SDE,
    *,
    seed: int,
    steps: int = 4000,
    batch: int = 512,
    rate: float = 1e-3,
    width: int = 128,
    each: Callable[[int, float], None] | None = None,
) -> ScoreMLP:
    """A ScoreMLP of ``data`` (N, D) float32, by Adam on  E g^2(t) |s(x_t, t) + z / sigma(t)|^2,  t uniform.

    The weight g^2 makes it the bound on the path KL of the reverse SDE (up to a constant). Everything is drawn from ``seed``;
    the global generator is left as it was. ``each(step, loss)`` is told every thousandth step and the last. About 3 ms a step
    on one core; ``train`` of ``training/loop.py`` is for what must resume.
    """
    if data.ndim != 2 or len(data) == 0 or steps < 1:
        raise BadInput(f"data of shape {tuple(data.shape)}, {steps} steps: give points (N, D) and at least one step")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ScoreMLP(data.shape[1], width)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    generator = torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        clean = data[torch.randint(len(data), (batch,), generator=generator)]
        t = sde.first + (sde.last - sde.first) * torch.rand(batch, generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        error = model(sde.add_noise(clean, noise, t), t) + noise / sde.sigma(t)[:, None]
        loss = (sde.g2(t)[:, None] * error.square()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 1000 == 0 or step == steps:
            if not torch.isfinite(loss):
                raise NotFinite(f"the loss is {float(loss.detach())} after {step} steps: lower the rate")
            if each is not None:
                each(step, float(loss.detach()))
    return model.eval().requires_grad_(False)


def save_scores(networks: Mapping[str, ScoreMLP], folder: Path, made: Mapping[str, Any]) -> None:
    """Write ``model.safetensors`` and ``config.json`` (which says how they were ``made``). float32: they equal a new training."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"{name}.{key}": value.contiguous() for name, model in networks.items() for key, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"class": "ScoreMLP", **made}, indent=1) + "\n", encoding="utf-8")


def load_scores(folder: Path) -> dict[str, ScoreMLP]:
    """The networks of a folder by name (names hold no dot)."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(folder / "model.safetensors").items():
        name, _, rest = key.partition(".")
        parts.setdefault(name, {})[rest] = value
    networks = {}
    for name, state in parts.items():
        layers = sum(key.startswith("hidden.") and key.endswith(".weight") for key in state)
        networks[name] = ScoreMLP(len(state["out.bias"]), state["out.weight"].shape[1], layers).eval().requires_grad_(False)
        networks[name].load_state_dict(state)
    return networks
