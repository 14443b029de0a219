"""Training on several modalities: whose loss counts, the weights, and the pairing of timesteps."""

import random

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.models import Model
from diffolio.models.joint_network import JointNetwork
from diffolio.process.prediction import alphas_cumprod
from diffolio.training.joint import JointPool, JointTraining, Mode, min_snr, paired
from tests.models.tiny import tiny_sd

MODES = {"to_alpha": Mode(0.5, ("rgb",)), "to_rgb": Mode(0.3, ("alpha",)), "joint": Mode(0.2, shifts=(0.0, -1.4))}


@pytest.fixture(scope="module")
def training():
    model = Model(tiny_sd(), name="tiny")
    network = JointNetwork(model, ("rgb", "alpha"), inputs=(0.5, 0.5), outputs=(1.0, 1.0), rank=2)
    z = torch.randn(2, 6, 4, 16, 16, generator=torch.Generator().manual_seed(0)).half()
    return JointTraining(model, network, JointPool({"rgb": z[0], "alpha": z[1]}, lambda i, rng: "a cat"), MODES, batch=3)


def errors(training, z, which):
    return training.errors(z, ["a cat"] * len(z), which, random.Random(0), torch.Generator().manual_seed(1))


def test_the_condition_has_exactly_no_loss_and_the_rest_has(training):
    z, conv = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0)), training.network.unet.conv_out
    for mode, (idle, busy) in enumerate(((slice(0, 4), slice(4, 8)), (slice(4, 8), slice(0, 4)))):
        conv.weight.grad = None
        errors(training, z, [mode]).sum().backward()
        assert not conv.weight.grad[idle].any() and conv.weight.grad[busy].any()
    training.network.zero_grad()


def test_the_network_sees_the_condition_without_noise(training):
    seen = []
    hook = training.network.unet.register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()))
    z = torch.randn(3, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        errors(training, z, [0, 1, 2])
    hook.remove()
    assert torch.equal(seen[0][0, :4], z[0, :4]) and torch.equal(seen[0][1, 4:], z[1, 4:])
    assert not torch.equal(seen[0][2, :4], z[2, :4]) and not torch.equal(seen[0][2, 4:], z[2, 4:])


def test_of_a_modality_given_as_clean_the_target_is_its_latents(training):
    """With a network that always says 0, the weighed error of the clean latents is their own square."""
    network = JointNetwork(training.model, ("rgb", "alpha"), inputs=(1.0, 0.0), outputs=(1.0, 0.0), rank=2, as_clean=("alpha",))
    one = JointTraining(training.model, network, training.pool, {"to_alpha": Mode(1.0, ("rgb",))}, gamma=0.0)
    z = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = one.errors(z, ["", ""], [0, 0], random.Random(0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, z[:, 4:].square().flatten(1).mean(1), atol=1e-5, rtol=1e-5)


def test_a_step_is_a_function_of_its_generator_and_tells_of_its_modes(training):
    with torch.no_grad():
        one, told = training.loss(0, torch.Generator().manual_seed(4))
        two, _ = training.loss(0, torch.Generator().manual_seed(4))
        other, _ = training.loss(0, torch.Generator().manual_seed(5))
    assert float(one) == float(two) != float(other) and set(told) == set(MODES)


def test_paired_timesteps(training):
    t, model = torch.tensor([100, 500, 900, 300]), training.model
    pairs = paired(model, t, torch.tensor([0.0, -1.4, 0.0, -1.4]), 2)
    table = alphas_cumprod(model.scheduler)
    snr = (table / (1 - table)).log()
    assert torch.equal(pairs[:, 0], t) and pairs[0, 1] == 100 and pairs[2, 1] == 900
    for i in (1, 3):
        assert float(snr[pairs[i, 1]] - snr[t[i]]) == pytest.approx(-1.4, abs=0.02)


def test_min_snr_weights_clean_errors_alike_for_every_kind():
    sigma = torch.tensor([0.1, 0.7, 0.99])
    alpha = (1 - sigma**2).sqrt()
    snr = (alpha / sigma) ** 2
    torch.testing.assert_close(min_snr("epsilon", alpha, sigma, 5.0), snr.clamp(max=5) / snr)
    torch.testing.assert_close(min_snr("v_prediction", alpha, sigma, 5.0), snr.clamp(max=5) / (snr + 1))


def test_shares_must_add_up(training):
    with pytest.raises(BadInput, match="one whole"):
        JointTraining(training.model, training.network, training.pool, {"a": Mode(0.5)})
