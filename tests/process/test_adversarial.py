"""Adversarial losses against their formulas written out, over levels, and their gradients."""

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.process.adversarial import KINDS, cycle_loss, discriminator_loss, generator_loss, identity_loss, r1_penalty


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hinge_and_least_squares_by_hand():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 1.0])
    assert discriminator_loss(real, fake, "hinge").item() == pytest.approx((0 + 0.5) / 2 + (0 + 2) / 2)
    assert discriminator_loss(real, fake, "lsgan").item() == pytest.approx(((1 + 0.25) / 2 + (9 + 1) / 2) / 2)
    assert generator_loss(fake, "hinge").item() == pytest.approx(1.0)
    assert generator_loss(fake, "lsgan").item() == pytest.approx((16 + 0) / 2 / 2)


def test_sigmoid_is_the_binary_cross_entropy():
    real, fake = rand(5), rand(5, seed=1)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    torch.testing.assert_close(discriminator_loss(real, fake, "sigmoid"), bce(real, ones) + bce(fake, zeros))
    torch.testing.assert_close(generator_loss(fake, "sigmoid"), bce(fake, ones))


@pytest.mark.parametrize("kind", KINDS)
def test_levels_count_alike_whatever_their_size(kind):
    real, fake = [rand(2, 1, 8, 8), rand(2, 1, 2, 2, seed=1)], [rand(2, 1, 8, 8, seed=2), rand(2, 1, 2, 2, seed=3)]
    each = [discriminator_loss(x, y, kind) for x, y in zip(real, fake, strict=True)]
    torch.testing.assert_close(discriminator_loss(real, fake, kind), sum(each) / 2)
    torch.testing.assert_close(generator_loss(fake, kind), sum(generator_loss(y, kind) for y in fake) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_each_side_is_pushed_its_way(kind):
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    for_real, for_fake = torch.autograd.grad(discriminator_loss(real, fake, kind), (real, fake))
    (for_generator,) = torch.autograd.grad(generator_loss(fake, kind), fake)
    assert (for_real < 0).all()
    assert (for_fake >= 0).all() and (kind == "lsgan" or (for_fake > 0).all())  # at 0 lsgan is where it wants its fakes
    assert (for_generator < 0).all()


def test_r1_of_a_quadratic_is_exact_and_differentiable():
    weight = rand(6, seed=1).requires_grad_(True)
    x = rand(4, 6)
    penalty = r1_penalty(lambda images: 0.5 * images.square() @ weight, x)  # gradient of a sample: x * weight
    torch.testing.assert_close(penalty, (x * weight).square().sum(1).mean() / 2)
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, (x.square() * weight).mean(0))


def test_cycle_and_identity():
    x, y = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    far = lambda a, b: (a - b).abs().amax((1, 2, 3))  # noqa: E731
    assert cycle_loss(x, y).item() == pytest.approx(0.5)
    assert cycle_loss(x, y, far).item() == pytest.approx(0.5 + 10 * 0.5)
    assert identity_loss(x, y, far).item() == pytest.approx(0.5 + 0.5)
    assert cycle_loss(x, x, far).item() == 0
    with pytest.raises(BadInput, match="keeps the shape"):
        cycle_loss(x, y[..., :2])


def test_unknown_kinds_and_no_level_are_refused():
    with pytest.raises(UnknownName, match="hinge"):
        generator_loss(torch.zeros(1), "hing")
    with pytest.raises(BadInput, match="level"):
        generator_loss([])
