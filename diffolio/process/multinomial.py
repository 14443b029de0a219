"""Multinomial diffusion of tokens that masks and replaces.

Hoogeboom et al., 2021, arXiv:2102.05379; Austin et al., 2021, arXiv:2107.03006; Gu et al., 2022, arXiv:2111.14822 (VQ-Diffusion, eq. 5
to 11). With K codes, the mask as id K, and cumulated shares a_t (kept) and g_t (masked), b_t = (1 - a_t - g_t) / K:

    Qbar_t v(x_0) = a_t v(x_0) + (g_t - b_t) v(K) + b_t 1
    q(x_t-1 | x_t, x_0) ~ q(x_t | x_t-1) q(x_t-1 | x_0),   pi(x_t-1 | x_t) = sum over x_0 of q(x_t-1 | x_t, x_0) p(x_0 | x_t)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.process.discrete import FLOOR, gumbel, log_onehot
from diffolio.process.sampling import Generators


@dataclass(frozen=True)
class MaskAndReplace:
    """The process over ``codes`` entries and a mask. ``keep`` and ``mask`` are a_t and g_t, (T + 1,), from 1 and 0 at t = 0."""

    codes: int
    keep: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.keep.dim() != 1 or self.keep.shape != self.mask.shape or len(self.keep) < 2:
            raise BadInput("keep and mask of a mask-and-replace process: give one number each for t = 0..T")
        ends = float(self.keep[0]) == 1 and float(self.mask[0]) == 0
        falls = bool((self.keep.diff() <= 0).all() and (self.mask.diff() >= 0).all() and (self.keep + self.mask <= 1).all())
        stays = self.keep[1:] / self.keep[:-1]
        falls = falls and bool((stays + self.mask.diff() / (1 - self.mask[:-1]) <= 1 + 1e-9).all())
        if not ends or not falls or float(self.keep.min()) <= 0:
            raise BadInput(
                "a mask-and-replace process starts at keep 1, mask 0; keep falls but stays above 0, mask rises, no faster than keep falls"
            )

    @classmethod
    def linear(cls, codes: int, steps: int, last_keep: float = 1e-5, last_mask: float = 0.9) -> MaskAndReplace:
        """Shares that change evenly, as in VQ-Diffusion."""
        t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        return cls(codes, 1 - (1 - last_keep) * t, last_mask * t)

    @property
    def steps(self) -> int:
        return len(self.keep) - 1

    def log_marginal(self, log_x0: Tensor, t: int) -> Tensor:
        """log q(x_t | x_0) (B, K + 1, ...) from log probabilities of x_0, (B, K + 1, ...)."""
        return self._through(log_x0, self.keep[t], self.mask[t])

    def draw(self, tokens: Tensor, t: int, generator: Generators) -> Tensor:
        """x_t ~ q(x_t | x_0) of tokens (B, ...)."""
        logs = self.log_marginal(log_onehot(tokens, self.codes + 1).double(), t)
        return (logs + gumbel(logs.shape, generator, logs.device)).argmax(1)

    def log_posterior(self, x_t: Tensor, log_x0: Tensor, t: int) -> Tensor:
        """log pi(x_{t-1} | x_t), (B, K + 1, ...) normalised, from log p(x_0 | x_t) (B, K + 1, ...) whose mask has none.

        q(x_{t-1} | x_t, x_0) is mixed over x_0: pi(y) = q(x_t | y) sum_x0 Qbar_{t-1}(y | x_0) p(x_0) / q(x_t | x_0).
        """
        share, masked = self._one_step(t)
        # q(x_t | x_0) for every x_0: the matrix row of x_t, read at x_0.
        towards = self._row(x_t, self.keep[t], self.mask[t])
        ratio = (log_x0.double() - towards).clamp(-200.0, 200.0)
        ratio[:, self.codes :] = -torch.inf  # data are never masked
        norm = ratio.logsumexp(1, keepdim=True)
        spread = self._through(ratio - norm, self.keep[t - 1], self.mask[t - 1])
        logs = self._row(x_t, share, masked) + spread
        return logs - logs.logsumexp(1, keepdim=True)

    def _one_step(self, t: int) -> tuple[Tensor, Tensor]:
        """The shares of the step from t - 1 to t: kept, and masked of what was not yet."""
        return self.keep[t] / self.keep[t - 1], (self.mask[t] - self.mask[t - 1]) / (1 - self.mask[t - 1])

    def _through(self, logs: Tensor, keep: Tensor, mask: Tensor) -> Tensor:
        """log of the transition applied to a distribution (B, K + 1, ...): what is already masked stays so."""
        p = logs.double().exp()
        of_codes = p[:, : self.codes]
        total = of_codes.sum(1, keepdim=True)
        replaced = (1 - keep - mask) / self.codes
        codes = keep * of_codes + replaced * total
        masked = p[:, self.codes :] + mask * total
        return torch.cat([codes, masked], 1).clamp_min(FLOOR).log()

    def _row(self, x_t: Tensor, keep: Tensor, mask: Tensor) -> Tensor:
        """log q(x_t | y) for every earlier token y: (B, K + 1, ...), float64."""
        replaced = (1 - keep - mask) / self.codes
        hot = torch.nn.functional.one_hot(x_t, self.codes + 1).movedim(-1, 1).double()
        is_mask = (x_t == self.codes)[:, None].double()
        found = torch.where(is_mask.bool(), mask, keep * hot + replaced)
        found[:, self.codes :] = is_mask
        return found.clamp_min(FLOOR).log()
