"""The density of a sampler on a grid."""

import numpy as np
import pytest
import torch

from diffolio.errors import BadInput
from diffolio.process.fokker_planck import sampler_density
from diffolio.process.sde import Simple, euler_maruyama


def score(x, t, scale=1.0):
    return -x / (scale * (0.25 * Simple().alpha(t) ** 2 + Simple().sigma(t) ** 2))


@pytest.mark.parametrize("h", [0.0, 0.5])
def test_an_exact_score_gives_the_data_at_every_h(h):
    sde = Simple()
    grid, q = sampler_density(score, sde, h, cells=1000, steps=300)
    first = torch.tensor(sde.first, dtype=torch.float64)
    variance = float(0.25 * sde.alpha(first) ** 2 + sde.sigma(first) ** 2)
    width = grid[1] - grid[0]
    assert q.sum() * width == pytest.approx(1, abs=1e-6)
    expected = np.exp(-(grid**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    np.testing.assert_allclose(q, expected, atol=2e-3)


def test_a_wrong_score_gives_what_the_sampler_draws():
    sde, h = Simple(), 0.5
    grid, q = sampler_density(lambda x, t: score(x, t, 1.5), sde, h, reach=8, cells=1600, steps=300)
    generator = torch.Generator().manual_seed(0)
    drawn = euler_maruyama(lambda x, t: score(x, t, 1.5), sde, torch.randn(20000, 1, generator=generator), h, 400, generator)
    variance = (q * grid**2).sum() * (grid[1] - grid[0])
    assert float(drawn.var()) == pytest.approx(variance, rel=0.05)


def test_bad_input():
    with pytest.raises(BadInput, match="zero or above"):
        sampler_density(score, Simple(), -1.0)
    with pytest.raises(BadInput, match="larger reach"):
        sampler_density(lambda x, t: score(x, t, 1.5), Simple(), 0.5, reach=3, cells=200, steps=100)
