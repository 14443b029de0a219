"""Signs of memorisation in the noise prediction, and the baseline that lowers them by changing the prompt's embedding.

Wen et al., 2024 (Detecting, Explaining, and Mitigating Memorization in Diffusion Models): a memorised prompt pulls the noise
prediction hard at the very first step, whatever the noise. The magnitude || eps(x_T, e) - eps(x_T, null) ||_2 detects it, and
descending it in e before sampling mitigates it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, NotFinite, Unsupported

if TYPE_CHECKING:
    from diffolio.models import Condition, Model
    from diffolio.seams import Call


def noise_magnitude(difference: Tensor, mask: Tensor | None = None) -> Tensor:
    """The L2 norm of every sample of eps(e) - eps(null) (B, ...) -> (B,).

    With a ``mask`` (B, 1, h, w) in [0, 1] of where a copy is suspected, the masked norm over the mask's mean (Chen et al., 2025,
    arXiv:2410.21665), so that it does not measure the mask's area.
    """
    difference = difference.float()
    if mask is None:
        return difference.flatten(1).norm(dim=1)
    return (difference * mask).flatten(1).norm(dim=1) / mask.float().flatten(1).mean(1)


def noise_gain(call: Call) -> float:
    """How much noise one unit of the network's output is worth at a call: 1 for a network that predicts noise."""
    if call.kind == "epsilon":
        return 1.0
    alpha, sigma = (float(level.flatten()[0]) for level in (call.alpha, call.sigma))
    gain = {"v_prediction": alpha / (alpha**2 + sigma**2), "sample": alpha / max(sigma, 1e-9), "flow": alpha / (alpha + sigma)}[
        call.kind
    ]
    if gain < 1e-6:
        raise Unsupported(
            f"at the noise level of step {call.step} a {call.kind} model says nothing of the noise (alpha is 0): "
            "the noise magnitude is not defined; use a model and a schedule that do not start from pure noise"
        )
    return gain


def call_magnitude(call: Call, outputs: dict[str, Tensor]) -> Tensor:
    """The noise magnitude (B,) of a call's conditional against its unconditional row."""
    found = noise_gain(call) * noise_magnitude(outputs["cond"] - outputs["uncond"])
    if not bool(torch.isfinite(found).all()):
        raise NotFinite(
            f"the noise magnitude is NaN or infinite at step {call.step}: check the model's precision and its prompts"
        )
    return found


@dataclass
class Magnitudes:
    """The noise magnitudes of a run: a row of ``steps`` values per sample."""

    by_step: list[Tensor] = field(default_factory=list)

    @property
    def all(self) -> Tensor:
        """(B, steps)."""
        return torch.stack(self.by_step, dim=1)

    @property
    def first(self) -> Tensor:
        """(B,) at the first step: Wen et al.'s detection score."""
        return self.by_step[0]


@contextmanager
def recorded_magnitudes(model: Model) -> Iterator[Magnitudes]:
    """While one guided run is sampled inside, its noise magnitudes are kept; nothing is changed."""
    kept = Magnitudes()

    def after(call: Call, outputs: dict[str, Tensor]) -> None:
        guidance_of(call)
        kept.by_step.append(call_magnitude(call, outputs).cpu())

    with model.seams.denoiser(after=after, name="recorded magnitudes"):
        yield kept


def guidance_of(call: Call) -> float:
    """The guidance scale of a call. Without a null prompt there is nothing to compare a prompt with: BadInput."""
    if "uncond" not in call.rows or "cond" not in call.rows or call.guidance_scale is None or call.guidance_scale <= 1:
        raise BadInput(
            f"guidance is off (scale {call.guidance_scale}, rows {', '.join(call.rows)}): memorisation shows, and is held back, "
            "against the null prompt; set guidance_scale above 1 (models with distilled guidance have none)"
        )
    return float(call.guidance_scale)


def optimise_prompt(
    model: Model, latents: Tensor, timestep: Any, condition: Condition, *, target: float, iterations: int = 10, rate: float = 0.05
) -> tuple[Condition, Tensor]:
    """Wen et al.'s mitigation: descend the magnitude at the first step in the prompt's embedding, to ``target`` at the latest.

    ``latents`` (B, C, h, w) is the x_T that sampling will start from, ``timestep`` its first. AdamW; the row of the start token
    gets no gradient; every sample stops by itself. Returns the condition with the new embeddings, to sample with as usual, and
    the magnitudes before (B,).
    """
    if target <= 0 or iterations < 1 or rate <= 0:
        raise BadInput(f"target {target}, {iterations} iterations, rate {rate}: all must be positive")
    start = condition["cond"]["encoder_hidden_states"].detach()
    embeddings = start.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([embeddings], lr=rate)
    with torch.no_grad():
        null = model.predict(latents, timestep, condition, rows=("uncond",)).noise
    kept, before = start.clone(), torch.empty(0)
    busy = torch.ones(len(latents), dtype=torch.bool, device=latents.device)
    for iteration in range(iterations + 1):
        with torch.enable_grad():
            tried = condition.with_row("cond", encoder_hidden_states=embeddings)
            magnitude = noise_magnitude(model.predict(latents, timestep, tried).noise - null)
        before = magnitude.detach() if iteration == 0 else before
        kept[busy] = embeddings.detach()[busy]
        busy = busy & (magnitude.detach() > target)
        if iteration == iterations or not bool(busy.any()):
            break
        (gradient,) = torch.autograd.grad(magnitude[busy].sum(), embeddings)
        gradient[:, 0] = 0
        embeddings.grad = gradient
        optimizer.step()
    return condition.with_row("cond", encoder_hidden_states=kept), before
