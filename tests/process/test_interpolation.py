import itertools

import numpy as np
import pytest
import torch
from scipy.stats import beta

from diffolio.errors import BadInput
from diffolio.process.interpolation import beta_places, even_path, explore, fit_beta, gini, slerp


def test_slerp_takes_a_share_for_every_sample():
    start, end = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    shares = torch.tensor([0.0, 0.3, 0.5, 1.0])
    got = slerp(start, end, shares)
    for i, share in enumerate(shares.tolist()):
        a, b = start[i].flatten(), end[i].flatten()
        angle = torch.arccos(a @ b / a.norm() / b.norm())
        want = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
        torch.testing.assert_close(got[i].flatten(), want)
    torch.testing.assert_close(got[0], start[0])


def test_gini_is_zero_for_even_gaps_and_largest_for_one_jump():
    assert gini([2.0] * 6) == 0
    assert gini([0, 0, 0, 5.0]) == pytest.approx(3 / 4)
    x = np.random.default_rng(0).random(9)
    pairs = np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())
    assert gini(x) == pytest.approx(pairs)
    assert gini([0.0, 0.0]) == 0
    with pytest.raises(BadInput):
        gini([])


@pytest.mark.parametrize(("alpha", "second"), [(0.7, 0.7), (2.0, 5.0), (4.0, 1.5)])
def test_the_beta_distribution_behind_the_gaps_is_found(alpha, second):
    places = np.linspace(0, 1, 12)
    got = fit_beta(places.tolist(), np.diff(beta.cdf(places, alpha, second)).tolist())
    assert got == pytest.approx((alpha, second), rel=1e-3)


def test_quantiles_even_out_the_distances():
    places = beta_places(7, 2.0, 5.0)
    assert places[0] == 0 and places[-1] == 1 and all(a < b for a, b in itertools.pairwise(places))
    np.testing.assert_allclose(np.diff(beta.cdf(places, 2.0, 5.0)), 1 / 6, rtol=1e-4)
    assert all(a < b for a, b in itertools.pairwise(beta_places(9, 20.0, 0.05)))


def test_the_most_even_path_is_the_best_of_all():
    points = np.sort(np.random.default_rng(3).random(8))
    distances = np.abs(points[:, None] - points[None, :])

    def spread(path):
        gaps = [distances[a, b] for a, b in itertools.pairwise(path)]
        return max(gaps) - min(gaps)

    paths = [(0, *inner, 7) for inner in itertools.combinations(range(1, 7), 3)]
    assert spread(even_path(distances, 5)) == pytest.approx(min(map(spread, paths)))
    with pytest.raises(BadInput, match="2..8"):
        even_path(distances, 9)


def test_exploration_splits_the_widest_gap():
    """Pictures whose content jumps near 0.8: places gather there."""

    def sample(places):
        return torch.tensor([[[[1 / (1 + np.exp(-40 * (p - 0.8)))]]] for p in places])

    def distance(a, b):
        return (a - b).abs().flatten(1).mean(1)

    places, pictures, (alpha, second) = explore(sample, distance, 12)
    assert len(places) == len(pictures) == 12
    assert places[0] == 0 and places[-1] == 1 and all(a < b for a, b in itertools.pairwise(places))
    assert sum(0.7 < p < 0.9 for p in places) >= 6
    assert beta.median(alpha, second) == pytest.approx(0.8, abs=0.05)
    torch.testing.assert_close(pictures, sample(places))
    plain = distance(sample(np.linspace(0, 1, 7))[:-1], sample(np.linspace(0, 1, 7))[1:])
    ours = sample(beta_places(7, alpha, second))
    assert gini(distance(ours[:-1], ours[1:]).tolist()) < 0.6 * gini(plain.tolist())
