"""Exact optimal transport between clouds."""

from itertools import permutations

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.metrics.wasserstein import wasserstein2


def test_it_is_the_best_of_all_assignments():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(6, 2, generator=generator), torch.randn(6, 2, generator=generator)
    best = min(float((a - b[list(order)]).square().sum(1).mean()) for order in permutations(range(6)))
    assert wasserstein2(a, b) == pytest.approx(best**0.5, rel=1e-5)


def test_a_shift_costs_its_length_whatever_the_order():
    a = torch.randn(300, 2, generator=torch.Generator().manual_seed(1))
    assert wasserstein2(a, a.flip(0) + torch.tensor([3.0, 4.0])) == pytest.approx(5, rel=1e-5)
    assert wasserstein2(a, a.flip(0)) == 0


def test_bad_clouds_are_refused():
    with pytest.raises(BadInput, match="same shape"):
        wasserstein2(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(BadInput, match="not finite"):
        wasserstein2(torch.zeros(1, 2), torch.full((1, 2), torch.nan))
