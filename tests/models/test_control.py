"""The condition adapter on true UNets: nothing before training, its effect after, several conditions, restored, saved, refused."""

import copy
import json

import pytest
import torch

from diffolio.errors import BadInput, UnknownName, Unsupported
from diffolio.models import Model
from diffolio.models.control import ControlConfig
from diffolio.models.controlled import control_adapter, controlled, load_control, save_control
from diffolio.nets.condition_encoders import FeaturePyramid, ReconstructionHead, ResidualEncoder
from diffolio.nets.fdn import FeatureDenormalization
from tests.models.tiny import tiny_model, tiny_sd

CONDITIONS = {"road": 1, "depth": 3}
LIGHTIT = ControlConfig(CONDITIONS, encoder="residual", reconstruct=True)
CRS = ControlConfig(
    CONDITIONS,
    encoder="none",
    inject=(0, 1, 2, 3),
    attention=True,
    content=12,
    metadata=("cloud", "month"),
    pyramid=(8, 8, 16, 16),
)
PLAIN = ControlConfig(CONDITIONS, inject=(1, 3), metadata=("cloud",))
FULL = ControlConfig(CONDITIONS, encoder="residual", inject=(1, 3))


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def pictures(samples=2):
    return {"road": rand(samples, 1, 128, 128), "depth": rand(samples, 3, 128, 128, seed=1)}


def train_a_little(adapter):
    """Zero convolutions away from zero, as training would have them."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapter.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return adapter


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def asked(model):
    """Latents, condition and the base's own two rows."""
    z, condition = (
        torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(3)),
        model.condition(["a circle", "a square"]),
    )
    with torch.no_grad():
        return z, condition, model.predict(z, 500, condition, 3.0).raw


@pytest.mark.parametrize("config", [LIGHTIT, CRS, PLAIN], ids=["residual", "denormalisation", "plain and both"])
def test_nothing_before_training_and_gone_after(model, asked, config):
    z, condition, plain = asked
    adapter = control_adapter(model, config)
    with torch.no_grad():
        with controlled(model, adapter, pictures()):
            assert torch.equal(model.predict(z, 500, condition, 3.0).raw, plain)
        train_a_little(adapter)
        with pytest.raises(RuntimeError, match="stop"), controlled(model, adapter, pictures()):  # noqa: PT012
            assert (model.predict(z, 500, condition, 3.0).raw - plain).abs().max() > 1e-3
            raise RuntimeError("stop")
        assert torch.equal(model.predict(z, 500, condition, 3.0).raw, plain)


def test_every_condition_matters_and_only_in_its_sample(model, asked):
    z, condition, _ = asked
    adapter, given = train_a_little(control_adapter(model, FULL)), pictures()

    def run(**changed):
        with torch.no_grad(), controlled(model, adapter, {**given, **changed}):
            return model.predict(z, 500, condition, 3.0).raw

    both = run()
    for name in CONDITIONS:
        other = given[name].clone()
        other[1] = 1 - other[1]
        made = run(**{name: other})
        torch.testing.assert_close(made[0], both[0])
        assert (made[1] - both[1]).abs().max() > 1e-4
    with torch.no_grad(), controlled(model, adapter, {"road": given["road"]}):
        absent = model.predict(z, 500, condition, 3.0).raw
    torch.testing.assert_close(absent, run(depth=torch.zeros(1, 3, 128, 128)))


def test_residuals_are_those_of_diffusers_and_scales_and_adapters_add_up(model, asked):
    z, condition, plain = asked
    adapter = train_a_little(control_adapter(model, LIGHTIT))
    text = condition["cond"]["encoder_hidden_states"]
    stacked = adapter.stacked(pictures(), (128, 128), 2)
    each = [0.1 * i for i in range(adapter.residuals)]
    with torch.no_grad():
        given = adapter(z, 500, text, stacked)
        down, mid = [r * s for r, s in zip(given.down, each, strict=False)], given.mid * each[-1]
        expected = model.denoiser(z, 500, text, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
        with controlled(model, adapter, pictures(), scales=each):
            torch.testing.assert_close(model.predict(z, 500, condition).raw, expected, rtol=1e-4, atol=1e-5)
        with controlled(model, adapter, pictures(), scales=0.5), controlled(model, adapter, pictures(), scales=0.5):
            twice = model.predict(z, 500, condition).raw
        with controlled(model, adapter, pictures()):
            torch.testing.assert_close(model.predict(z, 500, condition).raw, twice, rtol=1e-4, atol=1e-5)
        with controlled(model, adapter, pictures(), scales=0.0):
            assert torch.equal(model.predict(z, 500, condition, 3.0).raw, plain)
        with controlled(model, adapter, pictures(), stop_below=0.6):
            assert torch.equal(model.predict(z, 500, condition, 3.0).raw, plain)
        with controlled(model, adapter, pictures(), rows=["cond"]):
            rows = model.predict_rows(z, 500, condition, ("uncond", "cond"))
    torch.testing.assert_close(rows["uncond"].raw, model.predict(z, 500, condition, rows=["uncond"]).raw, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rows["cond"].raw, twice, rtol=1e-4, atol=1e-5)


def test_absent_content_is_the_bases_own_text(model, asked):
    z, condition, _ = asked
    adapter = control_adapter(model, CRS)
    content = torch.randn(2, 12, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        base = model.predict_rows(z, 500, condition, ("uncond", "cond"))
        with controlled(model, adapter, content=content, content_kept=torch.tensor([True, False])):
            rows = model.predict_rows(z, 500, condition, ("uncond", "cond"))
    torch.testing.assert_close(rows["uncond"].raw, base["uncond"].raw, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rows["cond"].raw[1], base["cond"].raw[1], rtol=1e-5, atol=1e-6)
    assert (rows["cond"].raw[0] - base["cond"].raw[0]).abs().max() > 1e-4


def test_metadata_enters_base_and_copy(model, asked):
    z, condition, plain = asked
    adapter = control_adapter(model, CRS)
    with torch.no_grad():
        for parameter in adapter.metadata.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
        with controlled(model, adapter, metadata={"cloud": torch.tensor([0.2, 0.9])}):
            made = model.predict(z, 500, condition, 3.0).raw
        with controlled(model, adapter, metadata={"cloud": 0.2, "month": 0}):
            same = model.predict(z, 500, condition, 3.0).raw
    torch.testing.assert_close(made[0], same[0])
    assert (made[1] - same[1]).abs().max() > 1e-4
    assert (made - plain).abs().max() > 1e-3


def test_training_reaches_every_part_and_not_the_base(model, asked):
    z, condition, _ = asked
    for config in (LIGHTIT, CRS):
        adapter = train_a_little(control_adapter(model, config))
        content = torch.randn(2, 12) if config.content else None
        with controlled(model, adapter, pictures(), content=content, metadata={"month": 0.5} if config.metadata else None):
            loss = model.predict(z, 500, condition).raw.square().mean()
        if config.reconstruct:
            loss = loss + adapter.reconstruction_loss(adapter.stacked(pictures(), (128, 128), 2))
        loss.backward()
        dead = [name for name, p in adapter.named_parameters() if p.grad is None or not p.grad.any()]
        # Biases before a normalisation of one channel a group are the only ones that may be without effect.
        assert not [name for name in dead if not name.endswith("bias")], dead
    assert all(p.grad is None for p in model.denoiser.parameters())


def test_saved_loaded_and_refused(model, tmp_path):
    adapter = train_a_little(control_adapter(model, LIGHTIT))
    folder = save_control(adapter, tmp_path / "adapter", model)
    loaded = load_control(folder, model)
    assert loaded.reconstruction is None
    assert not any(p.requires_grad for p in loaded.parameters())
    halves = {
        name: tensor.half().float() for name, tensor in adapter.state_dict().items() if not name.startswith("reconstruction")
    }
    assert all(torch.equal(tensor, halves[name]) for name, tensor in loaded.state_dict().items())
    assert load_control(save_control(adapter, tmp_path / "more", model, training=True), model).reconstruction is not None
    other = Model(copy.deepcopy(tiny_sd()), name="other")
    with torch.no_grad():
        other.denoiser.mid_block.resnets[0].conv1.weight.mul_(1.1)
    with pytest.raises(BadInput, match="trained on tiny-sd"):
        load_control(folder, other)
    assert load_control(folder, other, any_base=True).factor == 8
    record = json.loads((folder / "control.json").read_text())
    (folder / "control.json").write_text(json.dumps({**record, "config": {**record["config"], "encoder": "plain"}}))
    with pytest.raises(BadInput, match="does not fit"):
        load_control(folder, model)
    with pytest.raises(BadInput, match="holds no condition adapter"):
        load_control(tmp_path, model)


def test_stable_diffusion_xl_and_foreign_networks():
    xl = tiny_model("sdxl")
    adapter = control_adapter(xl, ControlConfig({"edges": 1}, inject=(0, 2)))
    z, condition = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3)), xl.condition("a circle")
    with torch.no_grad():
        plain = xl.predict(z, 500, condition).raw
        with controlled(xl, adapter, {"edges": rand(1, 1, 128, 128)}):
            assert torch.equal(xl.predict(z, 500, condition).raw, plain)
        with controlled(xl, train_a_little(adapter), {"edges": rand(1, 1, 128, 128)}):
            assert (xl.predict(z, 500, condition).raw - plain).abs().max() > 1e-3
    with pytest.raises(Unsupported, match="UNet2DConditionModel"):
        control_adapter(tiny_model("pixart"), ControlConfig({"edges": 1}))


def test_bad_conditions_are_named(model, asked):
    z, condition, _ = asked
    adapter = control_adapter(model, CRS)
    for bad, message in [
        ({"conditions": {"road": rand(2, 1, 64, 64)}}, "128"),
        ({"conditions": {"road": rand(2, 3, 128, 128)}}, "condition road"),
        ({"conditions": {"road": torch.full((1, 1, 128, 128), float("nan"))}}, "NaN"),
        ({"metadata": {"cloud": 1.5}}, "0, 1"),
        ({"scales": [1.0, 2.0]}, "control scales"),
        ({"content": torch.zeros(2, 5)}, "content embedding"),
    ]:
        with pytest.raises(BadInput, match=message), controlled(model, adapter, **bad):
            model.predict(z, 500, condition)
    with pytest.raises(UnknownName, match="road"), controlled(model, adapter, {"raod": rand(2, 1, 128, 128)}):
        model.predict(z, 500, condition)
    with pytest.raises(UnknownName, match="cloud"), controlled(model, adapter, metadata={"clouds": 0.1}):
        pass
    with pytest.raises(BadInput, match="never read"):
        ControlConfig({"road": 1}, encoder="none")
    with pytest.raises(BadInput, match=r"\[7\]"):
        control_adapter(model, ControlConfig({"road": 1}, inject=(7,)))


def test_denormalisation_is_the_formula_and_starts_as_the_norm():
    norm = torch.nn.GroupNorm(4, 16)
    with torch.no_grad():
        norm.weight.normal_(), norm.bias.normal_()
    layer, h, f = FeatureDenormalization(norm, 5, attention=True), rand(2, 16, 6, 6), rand(2, 5, 6, 6, seed=1)
    torch.testing.assert_close(layer(h), norm(h))
    layer.features = f
    g = h.reshape(2, 4, -1)
    g = ((g - g.mean(2, keepdim=True)) / (g.var(2, unbiased=False, keepdim=True) + norm.eps).sqrt()).reshape(h.shape)
    torch.testing.assert_close(layer(h), g * (1 + layer.scale(f)) + layer.shift(f), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 4, 8])
def test_encoders_reach_the_latents_grid_at_any_factor(factor):
    x = rand(2, 4, 8 * factor, 8 * factor)
    encoder = ResidualEncoder(4, 32, factor)
    assert encoder(x).shape == (2, 32, 8, 8)
    assert ReconstructionHead(32, 4, factor)(encoder(x)).shape == x.shape
    features = FeaturePyramid(4, (8, 12, 16), factor)(x)
    assert [tuple(f.shape) for f in features] == [(2, 8, 8, 8), (2, 12, 4, 4), (2, 16, 2, 2)]
    assert not any(f.any() for f in features)
