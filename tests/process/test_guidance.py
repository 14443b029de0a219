"""Combination of rows, rescaling, and guidance by a loss on the clean estimate."""

from __future__ import annotations

import pytest
import torch

from diffolio.errors import BadInput, NotFinite
from diffolio.process import Prediction, combine, guide_clean, rescale


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_combine_is_the_paper_and_takes_one_scale_a_sample() -> None:
    uncond, cond = rand(2, 4, 3, 3), rand(2, 4, 3, 3, seed=1)
    torch.testing.assert_close(combine(uncond, cond, 1.0), cond)
    torch.testing.assert_close(combine(uncond, cond, 0.0), uncond)
    both = combine(uncond, cond, torch.tensor([2.0, 7.5]))
    for i, scale in enumerate((2.0, 7.5)):
        torch.testing.assert_close(both[i], (1 - scale) * uncond[i] + scale * cond[i])


def test_rescale_brings_back_the_conditional_deviation() -> None:
    guided, cond = 3 * rand(2, 4, 3, 3), rand(2, 4, 3, 3, seed=1)
    full = rescale(guided, cond, 1.0)
    torch.testing.assert_close(full.std((1, 2, 3)), cond.std((1, 2, 3)))
    torch.testing.assert_close(full[1] / guided[1], (full[1] / guided[1]).mean().expand(4, 3, 3))  # only scaled
    assert torch.equal(rescale(guided, cond, 0.0), guided)
    torch.testing.assert_close(rescale(guided, cond, 0.7), 0.7 * full + 0.3 * guided)
    with pytest.raises(BadInput, match="0 to 1"):
        rescale(guided, cond, 1.5)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "flow"])
@pytest.mark.parametrize("shape", [(3, 2), (3, 4, 2, 2)])
def test_guiding_a_gaussian_gives_its_exact_posterior(kind: str, shape: tuple[int, ...]) -> None:
    """clean ~ N(0, 1), seen as y = clean + N(0, r): the guided noise must be that of the posterior of x given y.

    p(y | x) is Gaussian about E[clean | x], so the loss that has its variance makes the guidance exact.
    """
    alpha = torch.tensor(0.8 if kind != "flow" else 0.4, dtype=torch.float64).reshape(1, *[1] * (len(shape) - 1))
    sigma = (1 - alpha**2).sqrt() if kind != "flow" else 1 - alpha
    variance = alpha**2 + sigma**2  # of x
    x, y, r = rand(*shape), rand(*shape, seed=2), 0.3

    def predict(z: torch.Tensor) -> Prediction:
        noise = sigma * z / variance
        clean = alpha * z / variance
        raw = {"epsilon": noise, "v_prediction": alpha * noise - sigma * clean, "flow": noise - clean}[kind]
        return Prediction(raw, z, alpha, sigma, kind)

    spread = r + sigma**2 / variance  # of y about E[clean | x]
    guided = guide_clean(predict, x, lambda clean: ((clean - y) ** 2 / (2 * spread)).flatten(1).sum(1), 1.0)
    # Independent reference: the posterior of clean given x and y by precision weighting.
    precision = 1 + alpha**2 / sigma**2 + 1 / r
    mean = (alpha / sigma**2 * x + y / r) / precision
    torch.testing.assert_close(guided.clean, mean, rtol=1e-10, atol=1e-10)
    assert not guided.raw.requires_grad


def test_a_loss_of_each_sample_steers_only_its_sample() -> None:
    one = torch.full((1, 1), 0.6, dtype=torch.float64)

    def predict(z: torch.Tensor) -> Prediction:
        return Prediction(0.5 * z, z, one, (1 - one**2).sqrt(), "epsilon")

    x = rand(2, 3)
    guided = guide_clean(predict, x, lambda clean: clean.square().sum(1) * torch.tensor([0.0, 1.0]), 2.0)
    assert torch.equal(guided.noise[0], 0.5 * x[0])
    assert not torch.allclose(guided.noise[1], 0.5 * x[1])


def test_a_gradient_that_blows_up_is_an_error() -> None:
    one = torch.full((1, 1), 0.6)
    with pytest.raises(NotFinite, match="scale"):
        guide_clean(lambda z: Prediction(z, z, one, one, "epsilon"), torch.zeros(1, 2), lambda clean: clean.sqrt().sum(), 1.0)
