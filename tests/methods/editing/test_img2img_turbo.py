"""Img2Img-Turbo: training both ways, going on, what is written, the bundled translator, r, and true architectures."""

import functools
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file

from diffolio import miniatures
from diffolio.errors import BadInput, BadKnob, Unsupported
from diffolio.methods.editing.img2img_turbo import Img2ImgTurbo
from diffolio.models import DiffolioWarning, Model, load
from diffolio.models.counting import counted
from diffolio.models.one_step import OneStepGenerator
from diffolio.results import Job
from diffolio.training.domains import Domains, Pairs, tabletop_domains, tabletop_pairs
from diffolio.training.loop import Budget
from tests.models.tiny import tiny_model, tiny_sd

BASE = "mini-rg-lcm"
QUICK = {"rank_unet": 1, "rank_vae": 1, "rate": 1e-3, "critic_rate": 1e-3, "crop": 16, "guidance": 4.0}


@functools.cache
def base():
    return load(BASE)


@functools.cache
def scenes(n=6):
    return tabletop_domains(n, 64)


@functools.cache
def bundled():
    return Img2ImgTurbo().translator(base())


@functools.cache
def small():
    """Two levels each, pictures of 16 pixels, latents of 8 x 8: for what does not depend on the layout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=32,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=4,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(8, 8), norm_num_groups=4, sample_size=16, mid_block_add_attention=False,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
    parts = {**tiny_sd().components, "unet": unet.eval(), "vae": vae.eval()}
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return Model(pipeline, name="small")


def fit(folder, steps=2, model=None, data=None, backbone=None, distance=None, **knobs):
    recipe = Img2ImgTurbo(**{**QUICK, **knobs})
    options = {
        "seed": 3,
        "progress": False,
        "resume": (folder / "checkpoint").exists(),
        "backbone": backbone,
        "distance": distance,
    }
    recipe.fit(model or base(), data or scenes(), Budget(steps=steps), folder=folder, **options)
    return load_file(folder / "adapter" / "one_step.safetensors")


def twins(n=4):
    from diffolio.claims.editing.img2img_turbo import day_and_night
    from diffolio.worlds.tabletop import render

    return tuple(render([pair[i] for pair in day_and_night(n)], 64).images for i in (0, 1))


def as_bytes(n=2, size=64, seed=0):
    return torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def by_pooling(x):
    return [torch.nn.functional.avg_pool2d(x, 8)]


def apart(x, y):
    return (x - y).square().mean((1, 2, 3))


# Training ---------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*hardly made for one step")
def test_going_on_is_repeatable_and_leaves_the_base_alone(tmp_path):
    model, data = small(), Domains(as_bytes(4, 16, 1), as_bytes(4, 16, 2), ("by day", "by night"))
    weights = {k: v.clone() for k, v in model.denoiser.state_dict().items()}
    plain = {"model": model, "data": data, "crop": 8, "guidance": 1.0, "backbone": by_pooling, "distance": apart}
    first = fit(tmp_path / "one", 1, **plain)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    found = {name: fit(tmp_path / name, 2, **plain) for name in ("one", "two")}
    assert all(torch.equal(found["one"][key], found["two"][key]) for key in found["one"])
    assert any(not torch.equal(found["one"][key], first[key]) for key in found["one"])
    assert all(torch.equal(weights[key], tensor) for key, tensor in model.denoiser.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*hardly made for one step")
def test_everything_that_should_learn_does_and_only_that_is_written(tmp_path):
    start = OneStepGenerator(small(), 1, 1, directions=("a2b", "b2a"), seed=3).learned()
    data = Domains(as_bytes(4, 16, 1), as_bytes(4, 16, 2), ("by day", "by night"))
    found = fit(tmp_path, 3, small(), data, crop=None, guidance=1.0)
    assert set(found) == set(start)
    still = [name for name, tensor in found.items() if torch.equal(tensor.float(), start[name].detach().to(tensor.dtype).float())]
    assert len(still) < 0.02 * len(found)
    kept = load_file(tmp_path / "checkpoint" / "model.safetensors")
    assert len(kept) == len(start)


@pytest.mark.filterwarnings("ignore:.*hardly made for one step")
def test_pairs_train_too(tmp_path):
    recipe = Img2ImgTurbo(mode="paired", **QUICK)
    trained = recipe.fit(base(), tabletop_pairs(4, 64), Budget(steps=1), folder=tmp_path, progress=False)
    assert trained.log.read_text().splitlines()[0] == "step,loss,l2,perceptual,text,gan,critics"
    again = Img2ImgTurbo(mode="paired", adapter=str(tmp_path))
    generator = again.translator(base())
    assert generator.about["mode"] == "paired" and list(generator.vaes) == ["a2b"]
    x = tabletop_pairs(2, 64).inputs.float() / 255
    with pytest.raises(BadInput, match="give prompts"):
        again.translate(generator, x)
    assert again.translate(generator, x, ["a red circle", "a blue star"]).shape == x.shape
    result = again.run(Job(load("mini-sd"), ["a red circle"], steps=2))
    assert set(result.images) >= {"source", "baseline", "edit"} and result.images["source"].mean() < 0.3  # lines on black


def test_a_base_that_was_not_made_for_one_step_is_named():
    data = scenes()
    for name, warned in ((BASE, False), ("mini-sd", True)):
        generator = OneStepGenerator(load(name), 0, 0, guidance_scale=4.0)
        if warned:
            with pytest.warns(DiffolioWarning, match="mini-sd was hardly made for one step"):
                Img2ImgTurbo().warn_unless_one_step(generator, data)
        else:
            assert 0.75 < Img2ImgTurbo().warn_unless_one_step(generator, data) < 1.5


def test_from_the_command_line(tmp_path):
    from typer.testing import CliRunner

    from diffolio.cli.app import app

    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (64, 64), (90, 20, 20)).save(tmp_path / "data" / name / "0.png")
    settings = [part for key, value in QUICK.items() for part in ("--set", f"{key}={value}")]
    told = ["train", "img2img_turbo", "--model", BASE, "--budget", "1", "--out", str(tmp_path / "run"), *settings]
    done = CliRunner().invoke(app, [*told, "--data", str(tmp_path / "data"), "--set", "captions=a wall,a wall at night"])
    assert done.exit_code == 0, done.output
    loaded = Img2ImgTurbo(adapter=str(tmp_path / "run")).translator(base())
    assert loaded.about["captions"] == ["a wall", "a wall at night"] and loaded.about["steps"] == 1


# The bundled translator -------------------------------------------------------------------------------------------------


def test_it_turns_day_to_night_and_back_in_one_run_without_noise():
    day, night = twins()
    method, generator = Img2ImgTurbo(), bundled()

    class Network:
        denoiser = generator.unet

    with counted(Network) as calls:
        made = method.translate(generator, day)
    assert calls.rows == len(day) and calls.forwards == 1
    assert torch.equal(made, method.translate(generator, day, seed=5))  # nothing is drawn
    assert apart(made, night).mean() < 0.3 * apart(day, night).mean()
    back = Img2ImgTurbo(direction="b2a").translate(generator, night)
    assert apart(back, day).mean() < 0.3 * apart(day, night).mean()


def test_r_mixes_noise_in():
    day, generator = twins(2)[0], bundled()
    half, none = Img2ImgTurbo(r=0.5), Img2ImgTurbo(r=0.0)
    assert torch.equal(half.translate(generator, day, seed=1), half.translate(generator, day, seed=1))
    several = torch.stack([half.translate(generator, day, seed=10 * k) for k in range(3)])
    assert several.std(0).mean() > 0.01
    # At 0 the picture has no say; the first sample's noise is of seed + 0.
    assert torch.equal(none.translate(generator, day), none.translate(generator, 1 - day))
    base_alone = OneStepGenerator(base(), 0, 0, skips=False, guidance_scale=4.0)
    from diffolio.process.sampling import generators, noise

    drawn = noise((2, 4, 16, 16), generators(0, 2), device=day.device, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(
            none.translate(generator, day), base_alone(day, "a picture at night", r=0.0, noise=drawn), atol=2e-3, rtol=0
        )


def test_bundled_files():
    place = miniatures.adapter("img2img_turbo")
    assert sum(path.stat().st_size for path in place.rglob("*")) < 8e6
    assert len((place / "log.csv").read_text().splitlines()) <= 300
    assert "diffolio train img2img_turbo" in (place / "README.md").read_text()
    assert Img2ImgTurbo().translator(load("mini-sd")).model.name == BASE  # loaded beside the model that was given
    no_skips = Img2ImgTurbo(adapter=str(place / "no_skips")).translator(base())
    assert not no_skips.skips and no_skips.about["steps"] == bundled().about["steps"]


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_run(direction, tmp_path):
    job = Job(load("mini-sd"), ["a red circle", "a green tree at night"], steps=2)
    result = Img2ImgTurbo(direction=direction).run(job)
    assert set(result.images) >= {"source", "baseline", "edit", "change"}
    assert result.numbers["model_calls"] == 1 and result.numbers["model_calls_baseline"] == 2
    darker, lighter = (
        result.images[title].mean() for title in (("edit", "source") if direction == "a2b" else ("source", "edit"))
    )
    assert darker < 0.6 * lighter
    assert result.report["target"] == [
        f"a {thing}{' at night' if direction == 'a2b' else ''}" for thing in ("red circle", "green tree")
    ]
    assert (tmp_path / "sheet.png") in result.save(tmp_path)


def test_a_photograph_comes_back_at_its_own_size():
    photo = torch.rand(3, 50, 90, generator=torch.Generator().manual_seed(0))
    result = Img2ImgTurbo().run(Job(load("mini-sd"), [""], image=photo, steps=2))
    assert result.images["edit"].shape == (1, 3, 50, 90)


def test_pairs_are_judged_by_the_bundled_copies():
    data, recipe = tabletop_pairs(2, 64), Img2ImgTurbo(mode="paired", **QUICK)
    judged = recipe.objective(OneStepGenerator(base(), 0, 0, guidance_scale=4.0), data)
    images = data.outcomes.float() / 255
    right, wrong = (judged.similarity(images, list(texts)) for texts in (data.captions, data.captions[::-1]))
    assert right.shape == (2,) and right.mean() > wrong.mean() + 0.1
    assert judged.perceptual(images, images).abs().max() < 1e-6 < judged.perceptual(images, images.flip(0)).min()
    assert list(judged.critics.nets) == ["b"]


# True architectures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["sd", "sdxl"])
@pytest.mark.filterwarnings("ignore:.*hardly made for one step")
def test_true_architectures(which, tmp_path):
    model = tiny_model(which)
    recipe = Img2ImgTurbo(rank_unet=1, rank_vae=1, rate=1e-2)
    data = Domains(as_bytes(2, 32, 1), as_bytes(2, 32, 2), ("a street", "a street at night"))
    recipe.fit(model, data, Budget(steps=1), folder=tmp_path, progress=False, backbone=by_pooling, distance=apart)
    trained = Img2ImgTurbo(adapter=str(tmp_path))
    generator = trained.translator(model)
    assert len(generator.skips["a2b"].convolutions) == len(model.vae.config.block_out_channels) == 4
    x = data.a[:1].float() / 255
    before = trained.translate(generator, x)
    with torch.no_grad():  # what was learned acts
        generator.unet.conv_in.new.weight.copy_(generator.unet.conv_in.old.weight)
    assert before.shape == x.shape and (trained.translate(generator, x) - before).abs().max() > 1e-5
    with pytest.raises(BadInput, match=f"trained on tiny-{which}"):
        trained.translator(tiny_model("sd" if which == "sdxl" else "sdxl"))


# Bad input --------------------------------------------------------------------------------------------------------------


def test_bad_input(tmp_path):
    for knobs, message in (
        ({"r": 1.5}, "r="), ({"captions": ("one",)}, "captions"), ({"mode": "both"}, "mode"), ({"crop": 4}, "crop"),
    ):  # fmt: skip
        with pytest.raises(BadKnob, match=message):
            Img2ImgTurbo(**knobs)
    with pytest.raises(BadInput, match="give Domains"):
        Img2ImgTurbo().fit(base(), Pairs(as_bytes(), as_bytes(), ("x", "y")), folder=tmp_path)
    with pytest.raises(BadInput, match="multiples of"):
        Img2ImgTurbo(crop=30).fit(base(), scenes(), folder=tmp_path)
    with pytest.raises(BadInput, match="multiples of 4"):
        Img2ImgTurbo().translate(bundled(), torch.rand(1, 3, 62, 64))
    with pytest.raises(BadInput, match="holds no picture"):
        Img2ImgTurbo().read(Path(tmp_path), base())
    with pytest.raises(BadInput, match="no one-step generator"):
        Img2ImgTurbo(adapter=str(tmp_path)).translator(base())
    if not (miniatures.adapter("img2img_turbo") / "paired").is_dir():
        with pytest.raises(BadInput, match="no translator of pairs is bundled"):
            Img2ImgTurbo(mode="paired").translator(base())
    with pytest.raises(Unsupported, match="works on unet"):
        Img2ImgTurbo().fit(tiny_model("pixart"), folder=tmp_path)
