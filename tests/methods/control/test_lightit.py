"""LightIt: what is trained on what, that shading is estimated, that light follows it, and that it works on Stable Diffusion's layout."""

import copy
import json
import warnings

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from safetensors.torch import load_file
from torch import nn

from diffolio import miniatures
from diffolio.errors import BadInput, BadKnob, Unsupported
from diffolio.geometry.shading import n_dot_l, normals_of, sun
from diffolio.methods.control import lightit
from diffolio.methods.control.lightit import CONTROL, RELIGHT, LightIt, Lights
from diffolio.miniatures.lit_base import LitBase, load_base
from diffolio.models import DiffolioWarning, Model
from diffolio.models.controlled import control_adapter, controlled, load_control, save_control
from diffolio.models.shading import ShadingEstimator, check_normals, depth_from
from diffolio.nets.shading import GeometryNet, ShadingNetwork
from diffolio.registry import get
from diffolio.results import Job
from diffolio.training.control import ControlTraining
from diffolio.training.lighting import Control, LitPictures, Relighting, ShadingTraining, lit_pictures
from diffolio.training.loop import Budget
from diffolio.training.stages import Stages
from diffolio.worlds.solids.lit import lit_scenes
from tests.models.tiny import tiny_sd, tiny_sdxl

SMALL = {"scenes": 4, "batch": 2, "rate": 1e-3}


@pytest.fixture(scope="module")
def scenes():
    return lit_scenes(4, 993_000)


@pytest.fixture(scope="module")
def estimator():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ShadingEstimator(ShadingNetwork().eval().requires_grad_(False), GeometryNet().eval().requires_grad_(False))


@pytest.fixture(scope="module")
def pictures(scenes, estimator):
    return lit_pictures(scenes, estimator)


@pytest.fixture(scope="module")
def base():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return LitBase().model()


@pytest.fixture(scope="module")
def sd():
    return Model(copy.deepcopy(tiny_sd()), name="tiny-sd")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A whole training of one step each."""
    folder = tmp_path_factory.mktemp("lightit")
    trained = LightIt(**SMALL).fit(None, None, Budget(steps=5), folder=folder, progress=False)
    return folder, trained


@pytest.fixture(scope="module")
def bundled():
    return Lights.load()


def draws(draw, seed=0, batch=3):
    return draw(batch, torch.Generator().manual_seed(seed))


def trained_a_little(adapter):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapter.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return adapter.eval().requires_grad_(False)


# Exact ------------------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_denoising_error_plus_the_weighed_reconstruction(base, pictures):
    adapter, generator = control_adapter(base, CONTROL), torch.Generator()
    training = ControlTraining(base, adapter, Control(base, pictures), batch=2, recon_weight=1.0)
    total, told = training.loss(0, generator.manual_seed(3))
    assert float(total) == pytest.approx(told["denoising"] + told["reconstruction"], rel=1e-5)
    heavy = ControlTraining(base, adapter, Control(base, pictures), batch=2, recon_weight=3.0)
    assert float(heavy.loss(0, generator.manual_seed(3))[0]) == pytest.approx(
        told["denoising"] + 3 * told["reconstruction"], rel=1e-5
    )
    # By hand: at the start the adapter changes nothing, so that the error is the base's own.
    generator.manual_seed(3)
    latents, captions, _ = Control(base, pictures)(2, generator)
    noise = torch.randn(latents.shape, generator=generator)
    t = (1000 * torch.rand(2, generator=generator)).long()
    noisy = base.scheduler.add_noise(latents, noise, t)
    with torch.no_grad():
        states = base.condition(captions)["cond"]["encoder_hidden_states"]
        said = base.denoiser(noisy, t, states).sample
    assert told["denoising"] == pytest.approx(float((said - latents).square().mean()), rel=1e-4)


def test_a_noise_predictor_is_asked_for_the_noise(sd, pictures):
    adapter = control_adapter(sd, RELIGHT)
    wide = LitPictures(*(nn.functional.interpolate(x.flatten(0, 1).float(), 128).byte().unflatten(0, x.shape[:2])
                         if x.dim() == 5 else x for x in (pictures.rgb, pictures.shading)),
                       pictures.normals, pictures.captions,
                       nn.functional.interpolate(pictures.synthetic.flatten(0, 1).float(), 128).byte().unflatten(0, (4, 2)))  # fmt: skip
    told = ControlTraining(sd, adapter, Relighting(sd, wide), batch=2).loss(0, torch.Generator().manual_seed(0))[1]
    assert 0.7 < told["denoising"] < 1.5, "random weights predict about nothing, and noise has variance one"


def test_gradients_reach_the_adapter_and_never_the_base(base, pictures):
    adapter = control_adapter(base, RELIGHT)
    loss, _ = ControlTraining(base, adapter, Relighting(base, pictures), batch=2).loss(0, torch.Generator().manual_seed(0))
    loss.backward()
    assert all(p.grad is None for p in base.denoiser.parameters())
    assert adapter.trunk.controlnet_mid_block.weight.grad.abs().sum() > 0
    assert all(p.grad is not None for p in adapter.encoder.parameters()), "by the reconstruction, though its signal ends in zeros"


def test_relighting_is_trained_from_the_synthetic_picture_to_the_real_one_under_another_sun(base, pictures, scenes):
    latents, _, conditions = draws(Relighting(base, pictures), batch=12)
    target = base.decode(latents)
    for i in range(12):
        found = (scenes.rgb.float() / 255 - target[i]).abs().amax((2, 3, 4)) < 1e-4
        assert found.sum() == 1, "what is denoised is a render"
        scene, which = found.nonzero()[0].tolist()
        assert torch.equal(conditions["image"][i], pictures.synthetic[scene, 1 - which].float() / 255)
        assert torch.equal(conditions["shading"][i], pictures.shading[scene, which].float() / 255)
        assert not torch.equal(conditions["image"][i], scenes.rgb[scene, 1 - which].float() / 255), "and what is given is none"


def test_training_shading_is_estimated_and_not_the_renderers(pictures, scenes, estimator):
    assert not torch.equal(pictures.shading, scenes.direct)
    made = estimator.shade(scenes.depth, scenes.light[:, 1])
    assert (pictures.shading[:, 1].float() / 255 - made).abs().max() < 3e-3
    flat = lit_pictures(scenes, estimator, "n_dot_l")
    facing = n_dot_l(normals_of(scenes.depth), scenes.light[:, 0])
    assert (flat.shading[:, 0].float() / 255 - facing).abs().max() < 3e-3
    assert (facing - made).abs().max() > 0.1, "cast shadows tell them apart"


def test_the_estimator_learns_with_and_without_the_picture(scenes, monkeypatch):
    training, given = ShadingTraining(scenes), []
    network = training.net.forward
    monkeypatch.setattr(
        training.net, "forward", lambda depth, light, image=None: given.append(image) or network(depth, light, image)
    )
    for step in range(2):
        training.loss(step, torch.Generator().manual_seed(step))
    assert given[0] is not None and given[1] is None


def test_n_dot_l_stands_in_for_the_picture(estimator, scenes):
    light = scenes.light[:, 0]
    facing = n_dot_l(normals_of(scenes.depth), light).expand(-1, 3, -1, -1)
    assert torch.equal(estimator.shade(scenes.depth, light), estimator.shade(scenes.depth, light, facing))


# Bad input --------------------------------------------------------------------------------------------------------------


def test_normals_of_another_length_are_renormalised_with_a_warning():
    normals = torch.tensor([0.0, 0.3, 0.4]).view(1, 3, 1, 1).expand(1, 3, 4, 4).clone()
    normals[..., 0, 0] = 0
    with pytest.warns(DiffolioWarning, match="length one"):
        made = check_normals(normals)
    torch.testing.assert_close(made[0, :, 2, 2], torch.tensor([0.0, 0.6, 0.8]))
    assert not made[0, :, 0, 0].any(), "what is nothing stays nothing"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_normals(made)


def test_normals_in_other_axes_and_suns_below_the_horizon_are_refused(estimator, scenes, base):
    normals = normals_of(scenes.depth)
    with pytest.raises(BadInput, match="y up, z towards the camera"):
        estimator.shade(scenes.depth, scenes.light[:, 0], normals=-normals)
    lights = Lights(base, estimator, control_adapter(base, CONTROL), None)
    with pytest.raises(BadInput, match="away from the camera"), lights.lit(-normals, scenes.direct[:, 0].float() / 255):
        pass
    with pytest.raises(BadKnob, match="elevation"):
        LightIt(elevation=-5.0)
    with pytest.raises(Unsupported, match="no relighter"):
        lights.relight(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64))


@pytest.mark.parametrize(
    ("value", "match"), [(0.0, "zero, negative or NaN"), (torch.nan, "NaN"), (torch.inf, "nothing to light")]
)
def test_unusable_depth_is_refused_and_sky_is_not(estimator, value, match):
    depth = torch.full((1, 32, 32), 3.0)
    depth[:, :8] = torch.inf
    made = estimator.shade(depth, sun(20.0, 50.0))
    assert torch.isfinite(made).all() and not made[:, :, :8].any()
    depth[:] = value
    with pytest.raises(BadInput, match=match):
        estimator.shade(depth, sun(20.0, 50.0))


def test_data_without_shading_and_places_without_weights_are_refused(tmp_path):
    with pytest.raises(BadInput, match="LitPictures"):
        LightIt().fit(None, [(torch.rand(3, 64, 64), "a box")], Budget(steps=1), folder=tmp_path)
    with pytest.raises(BadInput, match="shading estimator"):
        ShadingEstimator.load(tmp_path)
    with pytest.raises(BadInput, match="no base"):
        load_base(tmp_path)
    with pytest.raises(BadInput, match="without a base"):
        Lights.load(tmp_path)


# Training ---------------------------------------------------------------------------------------------------------------


def test_a_training_writes_all_parts_and_they_load(small, tmp_path):
    folder, trained = small
    export = folder / "export"
    record = json.loads((export / "training.json").read_text())
    assert list(record["steps"]) == ["geometry", "shading", "base", "control", "relight"]
    assert trained.steps == sum(record["steps"].values()) <= 8
    assert {p.name for p in (export / "logs").iterdir()} == {f"{n}.csv" for n in record["steps"]}
    for name in ("control", "relight"):
        kept = load_file(export / name / "control.safetensors")
        assert not [k for k in kept if k.startswith("reconstruction")], "the decoder is for training only"
        assert all(v.dtype == torch.float16 for v in kept.values())
    lights = Lights.load(folder)
    assert lights.model.prediction == "sample" and lights.relighter is not None
    with pytest.raises(BadInput, match="other weights"):
        load_control(export / "control", LitBase(tokenizer=lights.model.pipeline.tokenizer).model())


def test_a_training_goes_on_where_it_stopped(small):
    folder, trained = small
    before = load_file(folder / "export" / "relight" / "control.safetensors")
    again = LightIt(**SMALL).fit(None, None, Budget(steps=5), folder=folder, resume=True, progress=False)
    after = load_file(folder / "export" / "relight" / "control.safetensors")
    assert again.steps == trained.steps and all(torch.equal(before[k], after[k]) for k in before)


def test_the_baselines_take_equal_steps(tmp_path):
    names = LightIt(compare=True).stages()
    assert names == list(lightit.STEPS) and set(LightIt().stages()) == set(names) - set(lightit.TWINS)
    stages = Stages(tmp_path, names, lightit.STEPS, lightit.SHARES, Budget(seconds=700), lightit.TWINS)
    assert sum(stages.limit(name).seconds for name in names) == pytest.approx(700)
    stages.taken = {"control": 31, "relight": 57}
    assert stages.limit("control_nl") == Budget(steps=31) and stages.limit("relight_plain") == Budget(steps=57)
    assert LightIt(part="relight", base="given").stages() == ["relight"]
    only = Stages(tmp_path, ["relight"], lightit.STEPS, lightit.SHARES)
    assert only.limit("relight") == Budget(steps=lightit.STEPS["relight"])


# Miniature --------------------------------------------------------------------------------------------------------------


def test_the_bundled_estimator_knows_shadows(bundled):
    data = lit_scenes(8, 994_000)
    truth = data.direct[:, 0].float() / 255
    made = bundled.estimator.shade(data.depth, data.light[:, 0])
    flat = bundled.estimator.n_dot_l(data.depth, data.light[:, 0])
    assert (made - truth).square().mean() < 0.7 * (flat - truth).square().mean()


def test_the_bundled_relighter_follows_the_shading(bundled):
    data = lit_scenes(4, 994_001)
    source, truth = (data.rgb[:, k].float() / 255 for k in (0, 1))
    relit, kept = (bundled.relight(source, bundled.estimator.shade(data.depth, data.light[:, k]), steps=8) for k in (1, 0))
    assert (relit - truth).square().mean() < (kept - truth).square().mean(), "it is the shading that decides"
    assert torch.equal(relit[:2], bundled.relight(source, bundled.estimator.shade(data.depth, data.light[:, 1]), steps=8)[:2])


def test_a_photograph_is_relit_at_its_own_size(bundled, monkeypatch):
    monkeypatch.setattr(Lights, "load", classmethod(lambda cls, start, model: bundled))
    photo = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0))
    job = Job(bundled.model, [""], photo, steps=2)
    result = LightIt().run(job)
    assert {name: tuple(x.shape) for name, x in result.images.items()} == dict.fromkeys(
        ("source", "normals", "shading", "relit"), (1, 3, 90, 120)
    )
    assert "guessed" in result.report["notes"][-1]
    mild, low = (float(LightIt(azimuth=a).run(job).images["relit"].mean()) for a in (-60.0, 60.0))
    assert mild != low


def test_solids_are_lit_generated_and_relit_in_their_own_words(bundled, monkeypatch):
    monkeypatch.setattr(Lights, "load", classmethod(lambda cls, start, model: bundled))
    result = LightIt().run(Job(bundled.model, ["a red circle left of a blue star"], steps=2))
    assert len(result.images) == 5 and "solids" in result.report["notes"][-1]
    own = LightIt().run(Job(bundled.model, ["a red sphere on a grey floor"], steps=2))
    assert own.labels == ["a red sphere on a grey floor"] and not own.report["notes"]


def test_depth_from_a_grey_picture(bundled, tmp_path):
    from diffolio.models.images import save_image

    grey = torch.full((1, 64, 64), 0.5)
    grey[:, :16] = 0
    grey[:, 40:] = 1.0
    depth = depth_from(save_image(grey, tmp_path / "d.png"), bundled.model, torch.rand(1, 3, 64, 64))
    assert torch.isinf(depth[0, 4, 4]) and depth[0, 50, 8] == pytest.approx(1.0, abs=0.01)
    assert depth[0, 30, 8] == pytest.approx(2.0, abs=0.02)


def test_the_shipped_folder_is_small_and_says_how_it_was_made():
    place = miniatures.adapter("lightit")
    assert sum(p.stat().st_size for p in place.rglob("*") if p.is_file()) <= 8e6
    assert "diffolio train lightit" in (place / "README.md").read_text()
    assert all(len(p.read_text().splitlines()) <= 300 for p in (place / "logs").glob("*.csv"))
    assert get("lightit") is LightIt


# Real architecture ------------------------------------------------------------------------------------------------------


def test_zero_at_the_start_and_the_same_as_diffusers_controlnet_pipeline_when_trained(sd):
    adapter = control_adapter(sd, CONTROL)
    conditions = {"normal": torch.rand(1, 3, 128, 128), "shading": torch.rand(1, 1, 128, 128)}
    options = {"seed": 7, "steps": 5, "guidance_scale": 4.0}
    plain = sd.sample(["a red box"], **options).images
    with controlled(sd, adapter, conditions, stop_below=0.3):
        assert torch.equal(sd.sample(["a red box"], **options).images, plain)
    trained_a_little(adapter)
    with controlled(sd, adapter, conditions, stop_below=0.3):
        ours = sd.sample(["a red box"], **options).latents
    net = copy.deepcopy(adapter.trunk)
    assert isinstance(net, ControlNetModel)
    net.controlnet_cond_embedding = nn.Sequential(adapter.encoder, adapter.entry)
    pipe = StableDiffusionControlNetPipeline(**sd.pipeline.components, controlnet=net, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        "a red box", image=adapter.stacked(conditions, (128, 128), 1), num_inference_steps=5, guidance_scale=4.0,
        generator=torch.Generator().manual_seed(7), output_type="latent", control_guidance_end=0.6,
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)
    whole = pipe(
        "a red box", image=adapter.stacked(conditions, (128, 128), 1), num_inference_steps=5, guidance_scale=4.0,
        generator=torch.Generator().manual_seed(7), output_type="latent",
    ).images  # fmt: skip
    assert (whole - theirs).abs().max() > 1e-3, "the control was off at the end"


def test_the_decoder_is_saved_only_to_go_on_training(sd, tmp_path):
    adapter = control_adapter(sd, RELIGHT)
    saved = load_file(save_control(adapter, tmp_path / "a", sd) / "control.safetensors")
    more = load_file(save_control(adapter, tmp_path / "b", sd, training=True) / "control.safetensors")
    assert {k.split(".")[0] for k in set(more) - set(saved)} == {"reconstruction"}


def test_sdxl_is_lit_too_and_leaves_no_trace():
    model = Model(tiny_sdxl(), name="tiny-sdxl")
    adapter = trained_a_little(control_adapter(model, CONTROL))
    conditions = {"normal": torch.rand(1, 3, 128, 128), "shading": torch.rand(1, 1, 128, 128)}
    z, condition = torch.randn(1, 4, 16, 16), model.condition(["a box"])
    with torch.no_grad():
        before = model.predict(z, 500, condition).raw
        with controlled(model, adapter, conditions):
            assert (model.predict(z, 500, condition).raw - before).abs().max() > 1e-4
        assert torch.equal(model.predict(z, 500, condition).raw, before)
