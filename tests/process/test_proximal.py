"""Proximal guidance: the operators by their definition, masks by hand, pulling back, and no dependence on the batch."""

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.process.proximal import edit_mask, proximal, pull, threshold


def test_l0_is_the_minimiser_of_its_objective():
    """prox of lam^2/2 ||.||_0 at d: of the candidates 0 and d, the one of lower (x-d)^2/2 + lam^2/2 [x != 0]."""
    d, lam = torch.linspace(-3, 3, 121).double(), 1.25
    keep, drop = torch.full_like(d, lam**2 / 2), d**2 / 2
    expected = torch.where(keep < drop, d, 0.0)
    assert torch.equal(proximal(d, lam, "l0"), expected)


def test_l1_is_the_minimiser_of_its_objective():
    d, lam = torch.linspace(-3, 3, 61).double(), 1.25
    grid = torch.linspace(-4, 4, 80001).double()
    objective = (grid[:, None] - d) ** 2 / 2 + lam * grid[:, None].abs()
    torch.testing.assert_close(proximal(d, lam, "l1"), grid[objective.argmin(0)], atol=2e-4, rtol=0)


def test_none_changes_nothing():
    d = torch.randn(2, 4, 3, 3)
    assert proximal(d, 0.5, "none") is d


def test_threshold_is_each_samples_own_quantile():
    d = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.0]).view(3, 1, 1, 1)
    found = threshold(d, 0.7)
    assert found.shape == (3, 1, 1, 1)
    for i in range(3):
        assert torch.equal(found[i], threshold(d[i : i + 1], 0.7)[0])
        assert (d[i].abs() <= found[i]).double().mean() >= 0.7
    kept = proximal(d, found, "l0") != 0
    assert 0.28 <= kept[0].double().mean() <= 0.32
    assert not kept[2].any()


def test_the_mask_grows_by_its_radius():
    d = torch.zeros(1, 2, 7, 7)
    d[0, 0, 3, 3] = -2.0
    assert edit_mask(d, 1.0, radius=0).sum() == 1
    grown = edit_mask(d, 1.0, radius=1)
    assert grown[0, 0, 2:5, 2:5].all()
    assert grown.sum() == 9, "channels have their own masks"


def test_pull_is_outside_only_and_by_its_rate():
    z, reference = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 4, 4)
    mask = torch.rand(1, 1, 4, 4) > 0.5
    half = pull(z, reference, mask, 0.5)
    assert torch.equal(half[mask], z[mask])
    torch.testing.assert_close(half[~mask], (z + reference)[~mask] / 2)
    torch.testing.assert_close(pull(z, reference, mask, 1.0)[~mask], reference[~mask])


def test_refusals():
    with pytest.raises(BadInput, match="quantile"):
        threshold(torch.zeros(1, 4), 1.5)
    with pytest.raises(BadInput, match="radius"):
        edit_mask(torch.zeros(1, 1, 2, 2), 0.0, -1)
    with pytest.raises(UnknownName, match="proximal operator"):
        proximal(torch.zeros(1), 0.0, "l2")
