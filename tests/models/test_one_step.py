"""The one-step generator on true classes: the base before training, what trains, r, directions, gradients, files."""

import copy

import pytest
import torch

from diffolio.errors import BadInput, UnknownName, Unsupported
from diffolio.models import Model
from diffolio.models.one_step import OneStepGenerator
from diffolio.models.one_step_files import base_for, load_one_step, read_record, save_one_step
from tests.models.tiny import tiny_model, tiny_sd

PROMPT = "a red circle"


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def generator(model):
    return OneStepGenerator(model, 2, 2, directions=("there", "back"))


def trained(generator):
    made = copy.copy(generator)
    made = copy.deepcopy(made)
    noise = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in made.learned().values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise))
    return made


def by_hand(model, z):
    """UNet at the last timestep, one step of a DDPM scheduler, decode."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler.from_config(model.scheduler.config, timestep_spacing="trailing")
    scheduler.set_timesteps(1)
    assert scheduler.timesteps.tolist() == [999]
    raw = model.denoiser(z, 999, model.condition(PROMPT)["cond"]["encoder_hidden_states"].expand(len(z), -1, -1)).sample
    clean = scheduler.step(raw, 999, z, generator=torch.Generator().manual_seed(0)).prev_sample
    return model.decode(clean).clamp(0, 1)


def test_before_training_it_is_encode_unet_one_step_decode(model, generator):
    x = rand(2, 3, 64, 64)
    with torch.no_grad():
        made = generator(x, PROMPT, gamma=0.0)
        torch.testing.assert_close(made, by_hand(model, model.encode(x)), rtol=1e-3, atol=1e-3)
        assert 0 < (generator(x, PROMPT) - made).abs().max() < 0.05  # skips start at 1e-5


def test_an_lcm_student_is_told_its_guidance():
    from diffolio.models.students import guided_student, student_pipeline

    unet = guided_student(tiny_sd().unet, 16)
    torch.nn.init.normal_(unet.time_embedding.cond_proj.weight, generator=torch.Generator().manual_seed(1))
    student = Model(student_pipeline(tiny_sd(), unet.requires_grad_(False)), name="student")
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    made = {g: OneStepGenerator(student, 0, 0, skips=False, guidance_scale=g) for g in (1.0, 4.0)}
    with torch.no_grad():
        clean = {g: generator.step(z, generator.text([PROMPT] * 2)) for g, generator in made.items()}
        wanted = student.predict(z, 999, student.condition([PROMPT] * 2), guidance_scale=4.0).clean
    torch.testing.assert_close(clean[4.0], wanted)
    assert (clean[1.0] - clean[4.0]).abs().max() > 1e-3


def test_spread_tells_a_mean_from_pictures(model):
    from diffolio.models.one_step import one_step_spread

    generator, x = OneStepGenerator(model, 0, 0, skips=False), rand(4, 3, 64, 64)
    latents = model.encode(x)
    for share in (1.0, 0.3):
        generator.step = lambda z, text, share=share: share * latents
        assert one_step_spread(generator, x, [PROMPT] * 4) == pytest.approx(share, rel=1e-4)


def test_a_bundled_base_takes_the_place_of_another_model(generator, model, tmp_path):
    folder = save_one_step(generator, tmp_path / "generator", {"steps": 3})
    assert base_for(folder, model) is model and read_record(folder)["about"] == {"steps": 3}
    assert load_one_step(folder, model).about == {"steps": 3}
    with pytest.raises(BadInput, match="was trained on tiny-sd, not on tiny-sd_v"):
        base_for(folder, changed(tiny_model("sd_v")))


def changed(other):
    other.pipeline.unet = copy.deepcopy(other.denoiser)
    with torch.no_grad():
        other.denoiser.conv_in.weight.mul_(1.1)
    return other


def test_without_skips_lora_or_both(model):
    x = rand(1, 3, 64, 64)
    bare = OneStepGenerator(model, 0, 0, skips=False)
    assert set(bare.learned()) == {"unet.conv_in.new.weight", "unet.conv_in.new.bias"}
    with torch.no_grad():
        torch.testing.assert_close(bare(x, PROMPT), by_hand(model, model.encode(x)), rtol=1e-3, atol=1e-3)


def test_r_zero_is_the_pretrained_model_on_pure_noise(model, generator):
    made, noise = trained(generator), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    x = rand(1, 3, 64, 64)
    with torch.no_grad():
        whole, none, half = made(x, PROMPT), made(x, PROMPT, r=0.0, noise=noise), made(x, PROMPT, r=0.5, noise=noise)
        torch.testing.assert_close(none, by_hand(model, noise), rtol=1e-3, atol=1e-3)
        assert torch.equal(made(x, PROMPT), whole)  # strengths are back
    assert (half - whole).abs().max() > 1e-3 and (half - none).abs().max() > 1e-3


def test_exactly_what_the_paper_trains_gets_a_gradient(generator):
    made = trained(generator)
    learned = made.learned()
    assert {name for name, p in made.named_parameters() if p.requires_grad} == set(learned)
    kinds = ("unet.conv_in.new", "skips.there", "skips.back", "vaes.there", "vaes.back", "unet.down_blocks", "unet.mid_block")
    assert all(any(name.startswith(kind) for name in learned) for kind in kinds)
    x = rand(1, 3, 64, 64).requires_grad_(True)
    text = made.text(PROMPT)
    made(made(x, text, "there"), text, "back").square().sum().backward()  # a cycle
    assert x.grad.abs().max() > 0
    assert not [name for name, p in learned.items() if p.grad is None]
    assert all(p.grad is None for name, p in made.named_parameters() if name not in learned)


def test_directions_share_the_unet_and_have_their_own_vae_adapters(generator):
    made, x = trained(generator), rand(1, 3, 64, 64)
    with torch.no_grad():
        assert (made(x, PROMPT, "there") - made(x, PROMPT, "back")).abs().max() > 1e-3
    frozen = [dict(vae.named_parameters())["quant_conv.weight"] for vae in made.vaes.values()]
    assert frozen[0] is frozen[1]


def test_the_model_is_left_alone(model):
    weights = {k: v.clone() for part in (model.denoiser, model.vae) for k, v in part.state_dict().items()}
    OneStepGenerator(model, 2, 2)
    for part in (model.denoiser, model.vae):
        assert not getattr(part, "peft_config", None)
        assert all(torch.equal(tensor, weights[name]) for name, tensor in part.state_dict().items())


def test_files_hold_only_what_was_learned(generator, model, tmp_path):
    from safetensors.torch import load_file

    made, x = trained(generator), rand(1, 3, 64, 64)
    folder = save_one_step(made, tmp_path / "generator")
    assert set(load_file(folder / "one_step.safetensors")) == set(made.learned())
    loaded = load_one_step(folder, model)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x, PROMPT, "back"), made(x, PROMPT, "back"), rtol=0, atol=0.02)
    assert not any(p.requires_grad for p in loaded.parameters())
    other = Model(copy.deepcopy(tiny_sd()), name="other")
    with torch.no_grad():
        other.vae.decoder.conv_in.weight.mul_(1.1)
    with pytest.raises(BadInput, match="trained on tiny-sd"):
        load_one_step(folder, other)
    with pytest.raises(BadInput, match="holds no one-step generator"):
        load_one_step(tmp_path, model)


def test_bad_input(model, generator):
    x = rand(2, 3, 64, 64)
    for call, message in [
        (lambda: generator(x, PROMPT, r=1.5), "r 1.5"),
        (lambda: generator(x, PROMPT, r=0.5), "noise belongs"),
        (lambda: generator(x[..., :60], PROMPT), "multiples of 8"),
        (lambda: generator(x, [PROMPT] * 3), "3 prompts for 2"),
        (lambda: generator(x, PROMPT, r=0.5, noise=rand(2, 4, 4, 4)), "noise of shape"),
    ]:
        with pytest.raises(BadInput, match=message):
            call()
    with pytest.raises(BadInput, match="a2b"):
        OneStepGenerator(model, directions=("forward",))
    with pytest.raises(UnknownName, match="there"):
        generator(x, PROMPT, "ther")
    with pytest.raises(Unsupported, match="UNet2DConditionModel"):
        OneStepGenerator(tiny_model("pixart"))
