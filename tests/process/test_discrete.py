"""Noise of tokens, and multinomial diffusion against its transition matrices written out."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.process.discrete import gumbel, log_onehot, uniform
from diffolio.process.multinomial import MaskAndReplace
from diffolio.process.sampling import generators

K, T = 4, 5


@pytest.fixture(scope="module")
def process():
    keep = torch.tensor([1.0, 0.8, 0.5, 0.3, 0.1, 0.02], dtype=torch.float64)
    mask = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    return MaskAndReplace(K, keep, mask)


def one_step(process, t):
    """Q_t as a matrix, column x_{t-1}, row x_t, from its definition in VQ-Diffusion (eq. 7)."""
    a = process.keep[t] / process.keep[t - 1]
    g = 1 - (1 - process.mask[t]) / (1 - process.mask[t - 1])
    matrix = torch.full((K + 1, K + 1), float((1 - a - g) / K), dtype=torch.float64) + a * torch.eye(K + 1, dtype=torch.float64)
    matrix[K], matrix[:, K] = g, 0.0
    matrix[K, K] = 1.0
    return matrix


def cumulated(process, t):
    total = torch.eye(K + 1, dtype=torch.float64)
    for s in range(1, t + 1):
        total = one_step(process, s) @ total
    return total


def test_gumbel_noise_draws_from_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0])
    g = gumbel((200_000, 3), torch.Generator().manual_seed(0))
    share = torch.bincount((logits + g).argmax(1), minlength=3) / 200_000
    assert torch.allclose(share, logits.softmax(0), atol=5e-3)
    assert abs(float(g.mean()) - 0.5772) < 5e-3 and abs(float(g.var()) - torch.pi**2 / 6) < 2e-2


def test_each_sample_has_its_own_noise():
    both = uniform((2, 3), generators(5, 2))
    assert torch.equal(both[1:], uniform((1, 3), generators(6, 1)))
    with pytest.raises(BadInput, match="2 generators for a batch of 3"):
        uniform((3, 3), generators(5, 2))


def test_the_marginal_is_the_product_of_the_steps(process):
    x0 = torch.arange(K)[:, None]
    for t in range(T + 1):
        logs = process.log_marginal(log_onehot(x0, K + 1).double(), t)
        assert torch.allclose(logs.exp()[..., 0].T, cumulated(process, t)[:, :K], atol=1e-9)
        assert torch.allclose(logs.exp().sum(1), torch.ones(K, 1, dtype=torch.float64))


def test_draws_follow_the_marginal(process):
    tokens = torch.full((1, 40_000), 2)
    drawn = process.draw(tokens, 2, generators(0, 1))
    share = torch.bincount(drawn.flatten(), minlength=K + 1) / 40_000
    assert torch.allclose(share.double(), cumulated(process, 2)[:, 2], atol=0.01)


@pytest.mark.parametrize("t", [1, 2, 5])
def test_the_posterior_is_bayes_rule_mixed_over_the_clean_token(process, t):
    p0 = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    step, before, upto = one_step(process, t), cumulated(process, t - 1), cumulated(process, t)
    for x_t in range(K + 1):
        expected = torch.zeros(K + 1, dtype=torch.float64)
        for x0 in range(K):
            expected += p0[x0] * step[x_t] * before[:, x0] / upto[x_t, x0]
        log_p0 = torch.cat([p0.log(), torch.tensor([-torch.inf], dtype=torch.float64)])[None, :, None]
        found = process.log_posterior(torch.tensor([[x_t]]), log_p0, t).exp()[0, :, 0]
        assert torch.allclose(found, expected / expected.sum(), atol=1e-8), x_t


def test_a_process_that_is_none_is_refused():
    for keep, mask in (([1.0, 0.5], [0.0, 0.6]), ([0.9, 0.5], [0.0, 0.1]), ([1.0, 0.0], [0.0, 0.5]), ([1.0], [0.0])):
        with pytest.raises(BadInput, match="mask-and-replace"):
            MaskAndReplace(K, torch.tensor(keep), torch.tensor(mask))
    assert MaskAndReplace.linear(8, 10).steps == 10
