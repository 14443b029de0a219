"""Point sets: the scale that the paper gives them, seeded; mixtures whose noised density is exact."""

import math

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.worlds.points import GaussianMixture, gaussians25, points, swiss_roll


@pytest.mark.parametrize("name", ["swiss_roll", "gaussians25"])
def test_a_set_has_unit_scale_and_is_a_function_of_its_seed(name):
    first = points(name, 2000, 1)
    assert first.shape == (2000, 2)
    assert first.dtype == torch.float32
    assert float(first.std()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(first, points(name, 2000, 1))
    assert not torch.equal(first, points(name, 2000, 2))


def test_a_swiss_roll_is_a_spiral_of_one_and_a_half_turns():
    exact = 6.865 * swiss_roll(4000, 3, noise=0.0)
    radius, angle = exact.norm(dim=1), torch.atan2(exact[:, 1], exact[:, 0])
    assert float(radius.min()) >= 1.5 * math.pi - 1e-4
    assert float(radius.max()) <= 4.5 * math.pi + 1e-4
    turns = (radius - angle) / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), atol=1e-4, rtol=0)


def test_the_grid_holds_as_many_points_in_each_mode():
    found = gaussians25(2500, 4) * 2.828 / 2
    mode = found.round()
    assert float((found - mode).abs().max()) < 0.25
    assert torch.unique(mode, dim=0, return_counts=True)[1].tolist() == [100] * 25


def mixture():
    means = torch.tensor([[-0.8, 0.2], [0.6, -0.3]], dtype=torch.float64)
    return GaussianMixture(means, torch.tensor([0.25, 0.4]).double(), torch.tensor([0.3, 0.7]).double())


def test_a_mixtures_score_is_the_gradient_of_its_density_at_every_noise_level():
    x = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for alpha, sigma in ((1.0, 0.0), (0.8, 0.6), (0.1, 0.99)):
        gradient = torch.autograd.grad(mixture().log_density(x, alpha, sigma).sum(), x)[0]
        torch.testing.assert_close(mixture().score(x, alpha, sigma), gradient)


def test_a_mixtures_density_integrates_to_one_and_its_samples_have_its_moments():
    axis = torch.linspace(-5, 5, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    mass = mixture().log_density(grid, 0.8, 0.3).exp().sum() * (10 / 300) ** 2
    assert float(mass) == pytest.approx(1, abs=1e-6)
    drawn = mixture().sample(20000, 5)
    torch.testing.assert_close(drawn.mean(0), torch.tensor([0.18, -0.15]).double(), atol=0.02, rtol=0)


def test_bad_sets_are_refused():
    with pytest.raises(UnknownName, match="swiss_roll"):
        points("swiss", 10, 0)
    with pytest.raises(BadInput, match="at least one"):
        points("swiss_roll", 0, 0)
    with pytest.raises(BadInput, match="sum to"):
        GaussianMixture(torch.zeros(2, 1), torch.ones(2), torch.ones(2))
    with pytest.raises(BadInput, match="shapes"):
        GaussianMixture(torch.zeros(3, 1), torch.ones(2), torch.ones(2) / 2)
