"""Losses of a generator that plays against a discriminator, and the two that keep unpaired translation to its source.

Logits are one tensor of any shape, or one for each level of a multi-level discriminator, whose losses are then averaged: every
level counts alike, whatever its size. Real pictures are to get high logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffolio.errors import BadInput, choose

Logits = Tensor | Sequence[Tensor]
Distance = Callable[[Tensor, Tensor], Tensor]
KINDS = ("hinge", "lsgan", "sigmoid")


def discriminator_loss(real: Logits, fake: Logits, kind: str = "hinge") -> Tensor:
    """What the discriminator minimises, a scalar; give the fakes detached from their generator.

    hinge     mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))           (Lim and Ye, 2017, arXiv:1705.02894)
    lsgan     (mean (D(x) - 1)^2 + mean D(G(z))^2) / 2                   (Mao et al., 2017, arXiv:1611.04076, eq. 9)
    sigmoid   mean softplus(-D(x)) + mean softplus(D(G(z)))              (Goodfellow et al., 2014, arXiv:1406.2661)
    """
    choose("adversarial loss", kind, KINDS)
    return _over_levels([_discriminator(x, y, kind) for x, y in zip(_levels(real), _levels(fake), strict=True)])


def generator_loss(fake: Logits, kind: str = "hinge") -> Tensor:
    """What the generator minimises, a scalar: -mean D for hinge, mean (D - 1)^2 / 2 for lsgan, mean softplus(-D) for sigmoid."""
    choose("adversarial loss", kind, KINDS)
    return _over_levels([_generator(y, kind) for y in _levels(fake)])


def r1_penalty(logits: Callable[[Tensor], Logits], real: Tensor) -> Tensor:
    """mean over pictures of |grad_x sum D(x)|^2, times one half (Mescheder et al., 2018, arXiv:1801.04406, eq. 9).

    Differentiable, so that it can be added to the discriminator's loss times its weight (gamma). ``real`` (B, ...).
    """
    # Fused attention kernels have no second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        x = real.detach().requires_grad_(True)
        total = torch.stack([level.sum() for level in _levels(logits(x))]).sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean() / 2


def cycle_loss(images: Tensor, returned: Tensor, perceptual: Distance | None = None, weight: float = 10.0) -> Tensor:
    """Pictures (B, 3, H, W) against what came back after there and back again (CycleGAN: Zhu et al., 2017, arXiv:1703.10593).

        mean |x - back(there(x))| + weight * mean perceptual(x, back(there(x)))

    Without a ``perceptual`` distance (of two batches, (B,)) the first term alone. CycleGAN-Turbo (arXiv:2403.12036) takes
    LPIPS with weight 10.
    """
    if images.shape != returned.shape:
        raise BadInput(f"pictures {tuple(images.shape)} came back as {tuple(returned.shape)}: a cycle keeps the shape")
    loss = F.l1_loss(returned, images)
    return loss if perceptual is None else loss + weight * perceptual(returned, images).mean()


def identity_loss(images: Tensor, translated: Tensor, perceptual: Distance | None = None, weight: float = 1.0) -> Tensor:
    """Pictures that are in the target domain already against their own translation: it should leave them as they are.

    The terms of :func:`cycle_loss`, with the weight 1 that CycleGAN-Turbo gives to LPIPS here.
    """
    return cycle_loss(images, translated, perceptual, weight)


def _discriminator(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if kind == "lsgan":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _generator(fake: Tensor, kind: str) -> Tensor:
    if kind == "hinge":
        return -fake.mean()
    if kind == "lsgan":
        return (fake - 1).square().mean() / 2
    return F.softplus(-fake).mean()


def _levels(logits: Logits) -> list[Tensor]:
    found = [logits] if isinstance(logits, Tensor) else list(logits)
    if not found:
        raise BadInput("no logits were given: a discriminator has at least one level")
    return found


def _over_levels(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean()
