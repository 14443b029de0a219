"""Zippo: one network for three ways through picture and matte, what stays clean, the reassigned noise, and the bundled adapter's effect."""

import math

import pytest
import torch

from diffolio.errors import BadInput, BadKnob, Conflict
from diffolio.methods.editing.zippo import NAMES, Zipped, Zippo
from diffolio.models import DiffolioWarning, Model, load
from diffolio.models.joint_network import JointNetwork, load_joint, save_joint
from diffolio.process.prediction import alphas_cumprod
from diffolio.registry import get, make
from diffolio.results import Job
from diffolio.training.cutouts import from_rgba, grey
from diffolio.training.loop import Budget
from tests.models.tiny import tiny_sd

SCENES = 980_000


@pytest.fixture(scope="module")
def model():
    return Model(tiny_sd(), name="tiny")


@pytest.fixture(scope="module")
def zipped(model):
    network = JointNetwork(model, NAMES, inputs=(1.0, 0.0), outputs=(1.0, 1.0), rank=4).eval()
    with torch.no_grad():
        for parameter in network.learned().values():  # as if it were trained: not the base any more
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return Zipped(Zippo(noises=2), model, network)


@pytest.fixture(scope="module")
def mini():
    return load("mini-sd")


def pictures(n=1, channels=3, side=128):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))


def given_to_the_unet(zipped, verb):
    """The latents and timesteps of every forward while ``verb`` runs."""
    seen = []
    hook = zipped.network.unet.register_forward_pre_hook(lambda m, args: seen.append((args[0].clone(), args[1].clone())))
    try:
        verb()
    finally:
        hook.remove()
    return seen


# Exact


def test_the_matte_has_s_squared_times_less_signal_to_noise(zipped):
    assert Zippo().shift == pytest.approx(-2 * math.log(2)) and Zippo(noise_scale=1.0).shift == 0
    from diffolio.models.joint_sampling import grid

    table = alphas_cumprod(zipped.model.scheduler).double()
    snr = table / (1 - table)
    pairs = grid(zipped.model, 10, Zippo().shift)
    assert pairs[-1] == (0, 0)
    for t, u in pairs[2:-1]:  # at the noisy end there is no further timestep
        assert float(snr[u] * 4 / snr[t]) == pytest.approx(1, abs=0.03)
    assert all(t == u for t, u in grid(zipped.model, 10, Zippo(noise_scale=1.0).shift))


def test_the_mixture_is_the_papers_and_specialists_have_one_mode():
    mixture = Zippo().mixture()
    assert {name: mode.share for name, mode in mixture.items()} == {"rgb_to_alpha": 0.4, "alpha_to_rgb": 0.4, "joint": 0.2}
    assert (
        mixture["rgb_to_alpha"].clean == ("rgb",) and mixture["alpha_to_rgb"].clean == ("alpha",) and not mixture["joint"].clean
    )
    assert sorted(set(mixture["joint"].shifts)) == pytest.approx([-2 * math.log(2), 0])
    assert set(Zippo(shared=0.0).mixture()["joint"].shifts) == {-2 * math.log(2)}
    assert list(Zippo(modes=(1.0, 0.0, 0.0)).mixture()) == ["rgb_to_alpha"]


def test_a_matte_is_the_median_over_its_noises(zipped):
    one = [zipped.rgb_to_alpha(pictures(), n=1, steps=1, seed=100_000 * k) for k in range(3)]
    three = zipped.rgb_to_alpha(pictures(), n=3, steps=1)
    torch.testing.assert_close(three, torch.stack(one).median(0).values, atol=1e-4, rtol=0)
    assert float((one[0] - one[1]).abs().max()) > 1e-3


# True architecture: Stable Diffusion's UNet and AutoencoderKL


def test_the_condition_is_clean_at_every_step_and_never_changes(zipped):
    image, matte = pictures(), pictures(1, 1)
    rgb = zipped.model.encode(image)
    for latents, _ in given_to_the_unet(zipped, lambda: zipped.rgb_to_alpha(image, n=1, steps=3)):
        assert torch.equal(latents[:, :4], rgb)
    alpha = zipped.model.encode(grey(matte, zipped.levels))
    seen = given_to_the_unet(zipped, lambda: zipped.alpha_to_rgb(matte, "a cat", steps=3))
    assert len(seen) == 3
    for latents, t in seen:
        assert torch.equal(latents[:, 4:], alpha.expand(2, -1, -1, -1)) and len(t) == 2 and bool((t > 0).all())


def test_one_network_makes_all_three_and_the_model_is_as_before(zipped):
    model = zipped.model
    own, vae = model.denoiser, {name: value.clone() for name, value in model.vae.state_dict().items()}
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    before = model.predict(latents, 500, model.condition(["a cat"])).raw
    calls = [
        given_to_the_unet(zipped, verb)
        for verb in (
            lambda: zipped.rgb_to_alpha(pictures(), n=1, steps=2),
            lambda: zipped.alpha_to_rgb(pictures(1, 1), "a cat", steps=2),
            lambda: zipped.joint(["a cat", "a dog"], steps=2),
        )
    ]
    assert [len(seen) for seen in calls] == [2, 2, 2] and calls[2][0][0].shape == (4, 8, 16, 16)
    assert model.denoiser is own
    assert torch.equal(model.predict(latents, 500, model.condition(["a cat"])).raw, before)
    assert all(torch.equal(value, vae[name]) for name, value in model.vae.state_dict().items())  # no fourth pixel channel


def test_joint_gives_rgba_and_each_sample_alone_is_the_same(zipped):
    both = zipped.joint(["a cat", "a dog"], steps=2, seed=5)
    assert both.shape == (2, 4, 128, 128) and float(both.min()) >= 0 and float(both.max()) <= 1
    torch.testing.assert_close(zipped.joint("a dog", steps=2, seed=6), both[1:], atol=1e-4, rtol=0)


def test_noise_reassignment_is_used_in_joint_sampling_only(zipped):
    plain = Zipped(Zippo(noise_scale=1.0, noises=2), zipped.model, zipped.network)
    assert not torch.equal(plain.joint("a cat", steps=2), zipped.joint("a cat", steps=2))
    matte = pictures(1, 1)
    assert torch.equal(plain.alpha_to_rgb(matte, "a cat", steps=2), zipped.alpha_to_rgb(matte, "a cat", steps=2))


def test_a_network_is_not_put_on_a_model_that_another_method_holds(zipped):
    with zipped.model.seams.features(lambda site, x: None, "mid_block"):
        with pytest.raises(Conflict, match="inside"):
            zipped.joint("a cat", steps=1)


def test_saved_and_loaded_again_and_refused_on_another_base(zipped, mini, tmp_path):
    save_joint(zipped.network, tmp_path / "a", zipped.model, {"levels": [0.9, 0.1]})
    loaded = Zippo(start=str(tmp_path / "a")).load(zipped.model)
    assert loaded.levels == (0.9, 0.1)
    for name, parameter in zipped.network.learned().items():
        assert torch.equal(loaded.network.learned()[name], parameter.half().float()), name
    with pytest.raises(BadInput, match="other weights"):
        load_joint(tmp_path / "a", mini)


# What is refused


def test_bad_mattes_and_pictures(zipped):
    with pytest.raises(BadInput, match=r"alpha lies in \[0, 1\]"):
        zipped.alpha_to_rgb(pictures(1, 1) * 2)
    with pytest.raises(BadInput, match="differ"):
        zipped.alpha_to_rgb(pictures())
    with pytest.raises(BadInput, match="shape"):
        zipped.rgb_to_alpha(pictures(1, 1))
    with pytest.raises(BadInput, match="multiples"):
        zipped.rgb_to_alpha(pictures()[..., :-3])
    with pytest.raises(BadInput, match="2 prompts for 1"):
        zipped.alpha_to_rgb(pictures(1, 1), ["a", "b"])
    with pytest.raises(BadInput, match="one shape"):
        zipped.network.layout.stack(rgb=torch.zeros(1, 4, 16, 16), alpha=torch.zeros(1, 4, 8, 8))


def test_of_rgba_the_colours_are_used_and_it_is_said(zipped):
    with pytest.warns(DiffolioWarning, match="colours alone"):
        matte = zipped.rgb_to_alpha(pictures(1, 4), n=1, steps=1)
    assert torch.equal(matte, zipped.rgb_to_alpha(pictures(1, 4)[:, :3], n=1, steps=1))


def test_half_transparent_cut_outs_must_say_whether_they_are_premultiplied():
    rgba = torch.cat([torch.full((1, 3, 8, 8), 0.5), torch.full((1, 1, 8, 8), 0.5)], 1)
    with pytest.raises(BadInput, match="premultiplied=True or False"):
        from_rgba(rgba, ["x"])
    torch.testing.assert_close(from_rgba(rgba, ["x"], premultiplied=False).images, torch.full((1, 3, 8, 8), 0.75))
    torch.testing.assert_close(from_rgba(rgba, ["x"], premultiplied=True).images, torch.full((1, 3, 8, 8), 1.0))
    with pytest.raises(BadInput, match="straight"):
        from_rgba(torch.cat([rgba[:, :3] + 0.3, rgba[:, 3:]], 1), ["x"], premultiplied=True)


@pytest.mark.parametrize(
    "knobs", [{"modes": (0.5, 0.5)}, {"modes": (1.0, 1.0, -1.0)}, {"levels": (0.5, 0.5)}, {"noise_scale": 0.0}]
)
def test_bad_knobs(knobs):
    with pytest.raises(BadKnob):
        Zippo(**knobs)


# Miniature


def test_registered_and_made_from_words():
    assert get("zippo") is Zippo
    assert make("zippo", {"modes": "1,0,0", "noise_scale": "1"}) == Zippo(modes=(1.0, 0.0, 0.0), noise_scale=1.0)


def test_training_runs_resumes_and_leaves_the_base_alone(mini, tmp_path):
    model, recipe = mini, Zippo(scenes=4, batch=2, rank=2, levels=(0.95, 0.3))
    before = {name: value.clone() for name, value in model.denoiser.state_dict().items()}
    options = {"folder": tmp_path, "progress": False}
    assert recipe.fit(model, None, Budget(steps=1), **options).steps == 1
    assert recipe.fit(model, None, Budget(steps=2), resume=True, **options).steps == 2
    _, about = load_joint(tmp_path / "adapter", model)
    assert about["steps"] == 2 and about["levels"] == [0.95, 0.3]
    assert all(torch.equal(value, before[name]) for name, value in model.denoiser.state_dict().items())


def test_the_bundled_mattes_are_brighter_where_things_stand(mini):
    from diffolio.worlds.tabletop import sample_scenes
    from diffolio.worlds.tabletop.mattes import MIXTURE, layers

    drawn = layers(sample_scenes(4, SCENES, MIXTURE))
    alpha = Zippo().load(mini).rgb_to_alpha(drawn.images, n=2, steps=6)
    inside, outside = ((alpha * w).sum() / w.sum() for w in (drawn.alpha, 1 - drawn.alpha))
    assert float(inside) > 1.2 * float(outside)


def test_a_run_shows_all_three_and_a_photograph_its_matte(mini):
    result = Zippo(noises=1).run(Job(mini, ["a red circle"], steps=2))
    assert {"mse", "mse_baseline"} <= set(result.numbers) and len(result.images) == 7
    matte = Zippo(noises=1, cut=True).run(Job(mini, [""], image=torch.rand(3, 50, 80), steps=1))
    assert matte.images["cut-out"].shape[-2:] == matte.alphas["cut-out"].shape == (50, 80)
