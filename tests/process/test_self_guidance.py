"""Guidance by a worse estimate: the blur, where it acts, and its scale."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.process.prediction import Prediction
from diffolio.process.self_guidance import away_from, blur, degraded


def said(kind="epsilon"):
    generator = torch.Generator().manual_seed(0)
    raw, x = (torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    return Prediction(raw, x, torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64), kind)


def test_blur_is_a_normalised_gaussian():
    x = torch.zeros(1, 2, 15, 15, dtype=torch.float64)
    x[0, 0, 7, 7] = 1
    found = blur(x, 1.0)[0, 0]
    assert float(found.sum()) == pytest.approx(1) and torch.allclose(found, found.T)
    assert float(found[7, 8] / found[7, 7]) == pytest.approx(float(torch.tensor(-0.5).exp()), rel=1e-6)
    torch.testing.assert_close(blur(torch.full((1, 2, 5, 5), 0.3), 2.0), torch.full((1, 2, 5, 5), 0.3))
    with pytest.raises(BadInput, match="above 0"):
        blur(x, 0.0)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_nothing_changes_outside_of_the_mask(kind):
    one, where = said(kind), torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(degraded(one, where), one.latents)
    where[:, :, 2:5, 2:5] = 1
    worse = degraded(one, where)
    torch.testing.assert_close(worse * (1 - where), one.latents * (1 - where))
    inside = where.expand_as(worse) > 0
    torch.testing.assert_close(worse[inside], (0.8 * blur(one.clean, 1.0) + 0.6 * one.noise)[inside])


def test_away_from_is_the_cards_rule():
    eps, worse = said().raw, said().latents
    torch.testing.assert_close(eps + away_from(eps, worse, 0.7), worse + 1.7 * (eps - worse))
    assert not away_from(eps, worse, 0.0).any()
