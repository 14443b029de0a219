"""A widened UNet with LoRA: equal to the base where it should be, what trains, and deterministic sampling in each modality."""

import pytest
import torch

from diffolio.errors import BadInput, Unsupported
from diffolio.models import Model
from diffolio.models.joint_network import JointNetwork
from diffolio.models.joint_sampling import ddim_joint, grid
from diffolio.process.prediction import alpha_sigma
from tests.models.tiny import tiny_model, tiny_sd, tiny_sd_v

NAMES = ("rgb", "alpha")


@pytest.fixture(scope="module", params=["epsilon", "v"])
def model(request):
    return Model({"epsilon": tiny_sd, "v": tiny_sd_v}[request.param](), name="tiny")


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_with_the_second_modalitys_columns_at_zero_the_first_is_the_bases(model):
    network = JointNetwork(model, NAMES, inputs=(1.0, 0.0), outputs=(1.0, 1.0), rank=4)
    z, condition, t = rand(2, 8, 16, 16), model.condition(["a cat", "a dog"]), torch.tensor([300, 700])
    with torch.no_grad():
        base = model.predict(z[:, :4], t, condition).raw
        for times, clean in ((torch.stack([t, t], 1), [False, False]), (torch.stack([t, 0 * t], 1), [False, True])):
            said = network.predict(model, z, times, torch.tensor([clean] * 2), condition)["cond"]["rgb"].raw
            torch.testing.assert_close(said, base, atol=1e-5, rtol=0)


def test_a_modality_given_as_clean_is_read_as_clean(model):
    network = JointNetwork(model, NAMES, inputs=(1.0, 0.0), outputs=(1.0, 0.0), rank=4, as_clean=("alpha",))
    assert network.settings["as_clean"] == ["alpha"]
    z, t = rand(1, 8, 16, 16), torch.tensor([[400, 600]])
    with torch.no_grad():
        said = network.predict(model, z, t, torch.zeros(1, 2, dtype=torch.bool), model.condition(["a cat"]))["cond"]
    assert said["rgb"].kind == model.prediction and said["alpha"].kind == "sample"
    assert not said["alpha"].clean.any(), "before training it says nothing"
    _, sigma = alpha_sigma(model.scheduler, 600)
    torch.testing.assert_close(said["alpha"].noise, z[:, 4:] / sigma, atol=1e-5, rtol=1e-5)


def test_the_networks_own_time_is_that_of_the_first_that_is_diffused_and_all_are_told(model):
    network = JointNetwork(model, NAMES, inputs=(0.5, 0.5), outputs=(1.0, 1.0), rank=0)
    seen, told = [], []
    hooks = [
        network.unet.register_forward_pre_hook(lambda m, args: seen.append(args[1].tolist())),
        network.time.register_forward_pre_hook(lambda m, args: told.append((args[0].tolist(), args[1].tolist()))),
    ]
    with torch.no_grad():
        clean = torch.tensor([[True, False]])
        network.predict(
            model, rand(1, 8, 16, 16), torch.tensor([[0, 900]]), clean, model.condition(["a cat"]), ("uncond", "cond")
        )
        network.predict(
            model, rand(1, 8, 16, 16), torch.tensor([[300, 500]]), torch.zeros(1, 2, dtype=torch.bool), model.condition(["a cat"])
        )
    for hook in hooks:
        hook.remove()
    assert seen == [[900, 900], [300]]
    assert told == [([[900, 0, 900]], [[False, True, False]]), ([[300, 300, 500]], [[False, False, False]])]


def test_what_trains_is_lora_the_two_convolutions_and_the_times(model):
    network = JointNetwork(model, NAMES, inputs=(0.5, 0.5), outputs=(1.0, 1.0), rank=4)
    learned = network.learned()
    assert {name for name, p in network.named_parameters() if p.requires_grad} == set(learned)
    assert all("lora_" in name or name.startswith(("time.", "unet.conv_in.", "unet.conv_out.")) for name in learned)
    whole = JointNetwork(model, NAMES, inputs=(0.5, 0.5), outputs=(1.0, 1.0), rank=0)
    assert set(whole.learned()) == {name for name, _ in whole.named_parameters()}


def test_ddim_in_each_modality_at_its_own_level(model):
    network = JointNetwork(model, NAMES, inputs=(0.5, 0.5), outputs=(1.0, 0.5), rank=0).eval()
    condition, shift = model.condition(["a cat"]), -1.4
    (t, u), end = grid(model, 1, shift)
    found = ddim_joint(model, network, condition, (16, 16), shift=shift, steps=1, seed=3)
    from diffolio.process.sampling import generators, noise

    z = noise((1, 8, 16, 16), generators(3, 1))
    with torch.no_grad():
        said = network.predict(model, z, torch.tensor([[t, u]]), torch.zeros(1, 2, dtype=torch.bool), condition)["cond"]
    assert end == (0, 0) and u >= t
    a, s = alpha_sigma(model.scheduler, 0)
    for name in NAMES:
        torch.testing.assert_close(found[name], a * said[name].clean + s * said[name].noise, atol=1e-4, rtol=1e-4)


def test_clean_modalities_come_back_bit_for_bit(model):
    network = JointNetwork(model, NAMES, inputs=(0.5, 0.5), outputs=(1.0, 1.0), rank=0).eval()
    given = rand(1, 4, 16, 16)
    found = ddim_joint(model, network, model.condition(["a cat"]), (16, 16), clean={"rgb": given}, steps=3, guidance_scale=4.0)
    assert torch.equal(found["rgb"], given)
    with pytest.raises(BadInput, match="steps"):
        ddim_joint(model, network, model.condition(["a cat"]), (16, 16), steps=0)


def test_refused(model):
    with pytest.raises(BadInput, match="2 modalities, 1 inputs"):
        JointNetwork(model, NAMES, inputs=(1.0,), outputs=(1.0, 1.0))
    with pytest.raises(Unsupported, match="UNet2DConditionModel"):
        JointNetwork(tiny_model("pixart"), NAMES, inputs=(0.5, 0.5), outputs=(1.0, 1.0))
