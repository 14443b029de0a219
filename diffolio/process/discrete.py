"""What processes on tokens share: noise of each sample's own, the Gumbel-max trick (Maddison et al., 2014), one-hot logarithms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.process.sampling import Generators

FLOOR = 1e-30  # of a probability before its logarithm


def uniform(shape: Sequence[int], generator: Generators, device: torch.device | str = "cpu") -> Tensor:
    """Uniform in [0, 1), float32; with a list of generators each sample is drawn from its own, so that it does not depend on
    its batch."""
    if isinstance(generator, Sequence):
        if len(generator) != shape[0]:
            raise BadInput(f"{len(generator)} generators for a batch of {shape[0]}: give one a sample")
        return torch.cat([torch.rand((1, *shape[1:]), generator=g, device=g.device) for g in generator]).to(device)
    place = generator.device if generator is not None else None
    return torch.rand(tuple(shape), generator=generator, device=place).to(device)


def gumbel(shape: Sequence[int], generator: Generators, device: torch.device | str = "cpu") -> Tensor:
    """Standard Gumbel noise: argmax(logits + gumbel) is a draw from softmax(logits)."""
    return -(-uniform(shape, generator, device).clamp_min(FLOOR).log()).clamp_min(FLOOR).log()


def log_onehot(tokens: Tensor, codes: int, floor: float = FLOOR) -> Tensor:
    """log onehot(x) with log ``floor`` for zero: tokens (B, ...) -> (B, codes, ...), float32."""
    hot = torch.nn.functional.one_hot(tokens, codes).movedim(-1, 1)
    return hot.float().clamp_min(floor).log()
