"""Rewards that recipes optimise: functions of pictures and prompts, bundled or brought by a user, whose answers are checked."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffolio.errors import BadInput, NotFinite, Unsupported, unknown

REWARDS = ("mini-clip",)


class Expert:
    """A reward whose answers are checked. ``scale`` turns its scores into logits (None: it has no scale of its own)."""

    def __init__(self, score: Callable[..., Tensor], scale: float | None = None) -> None:
        self.score, self.scale = score, scale

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """(B, 3, H, W) in [0, 1] and B prompts -> (B,)."""
        scores = self.score(images, prompts)
        if not isinstance(scores, Tensor) or scores.shape != (len(images),):
            got = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise BadInput(f"the reward gave {got} for {len(images)} pictures: it must give a tensor of shape ({len(images)},)")
        if not torch.isfinite(scores).all():
            raise NotFinite(f"the reward gave {scores.tolist()}: every score must be finite")
        return scores

    def try_on(self, size: int, device: str | torch.device = "cpu", *, differentiable: bool = False) -> None:
        """Score two grey pictures of ``size`` pixels, so that a reward that cannot be used is refused before any training."""
        probe = torch.full((2, 3, size, size), 0.5, device=device, requires_grad=True)
        score = self(probe, ["a picture", "another picture"])
        gradient = torch.autograd.grad(score.sum(), probe, allow_unused=True)[0] if score.requires_grad else None
        if differentiable and gradient is None:
            raise Unsupported(
                "the reward is not differentiable: no gradient reaches the pictures. Use proxy=True, which never "
                "differentiates it, or give a differentiable reward"
            )


def find_reward(reward: str | Callable[..., Tensor] | None) -> Expert | None:
    """None or "none": no reward; "mini-clip": the cosine of mini-clip-a with its logit scale; or a function."""
    if reward is None or reward == "none":
        return None
    if not isinstance(reward, str):
        return Expert(reward)
    if reward not in REWARDS:
        raise unknown("reward", reward, REWARDS)
    from diffolio.metrics.judge import Judge

    judge = Judge.load("a")
    scale = float(judge.model.logit_scale.exp())
    return Expert(lambda images, prompts: judge.score(images, prompts) / scale, scale)
