"""Giving a Hand: the hand first, never touched again, in latents, on true architectures, and what the bundled networks make."""

import copy

import pytest
import torch

from diffolio import miniatures
from diffolio.errors import BadInput, BadKnob
from diffolio.methods.control.hand_to_diffusion import HandToDiffusion
from diffolio.models import DiffolioWarning, Model, hand_stages, load
from diffolio.models.controlled import control_adapter, load_control
from diffolio.models.hand_stages import CONFIG, TwoStage, hand_generator
from diffolio.models.outpainting import outpaint
from diffolio.process.expansion import Expansion, cells
from diffolio.registry import get, make
from diffolio.results import Job
from diffolio.training.hand_poses import load_judge, read_poses
from diffolio.training.hands import BodyPictures, HandPictures, body_pictures, figures_in_view, hand_pictures, mirrored
from diffolio.training.loop import Budget
from diffolio.worlds.hands import render_bodies
from tests.models.tiny import tiny_sd, tiny_sd_v

HELD_OUT = 980_000


def build(pipeline=tiny_sd):
    from diffusers import DDIMScheduler

    model = Model(copy.copy(pipeline()), name="tiny")
    model.scheduler = DDIMScheduler.from_config(model.scheduler.config, set_alpha_to_one=True, clip_sample=False)
    return model


def shaken(module, seed=1):
    """As if it were trained: not the base any more."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def two():
    model = build()
    network, hand = hand_generator(model)
    return TwoStage(model, shaken(network), shaken(hand), shaken(control_adapter(model, CONFIG)), {})


def pose(n=1, size=128, hands=1):
    drawn = render_bodies(figures_in_view(8, HELD_OUT), 64)
    both = drawn.hand_keypoints[~drawn.hand_keypoints.isnan().flatten(1).any(1)]
    return both[:n, :hands] * size / 64, drawn.joints[:n] * size / 64


def square(n=1, size=128):
    mask = torch.zeros(n, size, size, dtype=torch.bool)
    mask[:, 40:88, 24:72] = True
    return mask


# Exact and true architecture: Stable Diffusion's UNet and AutoencoderKL


@pytest.mark.parametrize("pipeline", [tiny_sd, tiny_sd_v])
def test_without_expansion_it_is_plain_latent_blending(pipeline):
    """Against a loop over diffusers' own DDIM."""
    model = build(pipeline)
    given, mask = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3)), square()
    condition = model.condition(["a person"])
    made = outpaint(model, condition, given, mask, Expansion(0, soften=0), steps=4, seed=7)
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    inside, scheduler = cells(mask, (16, 16)), model.scheduler
    scheduler.set_timesteps(4)
    z = noise
    with torch.no_grad():
        for t in scheduler.timesteps:
            z = torch.where(inside, scheduler.add_noise(given, noise, t[None]), z)
            z = scheduler.step(model.predict(z, t, condition).raw, t, z).prev_sample
    torch.testing.assert_close(made, torch.where(inside, given, z), atol=1e-3, rtol=1e-3)
    assert torch.equal(made[inside.expand_as(made)], given[inside.expand_as(given)])


def test_kept_latents_have_the_schedulers_exact_level_and_one_call_a_step():
    model = build()
    given, mask, seen = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3)), square(), []
    hook = model.denoiser.register_forward_pre_hook(lambda m, args, kwargs: seen.append(args[0].clone()), with_kwargs=True)
    try:
        outpaint(model, model.condition(["a person"]), given, mask, Expansion(16), steps=5, seed=7)
        plain = len(seen)
        outpaint(model, model.condition(["a person"]), given, mask, Expansion(16), steps=5, seed=7, jumps=2)
    finally:
        hook.remove()
    assert plain == 5 and len(seen) - plain == 5 + 2 * 3, "the region shrinks in three of the five steps"
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    for i, t in enumerate(model.scheduler.timesteps):
        inside = (Expansion(16).kept(mask, i, 5, (16, 16)) == 1).expand_as(given)
        torch.testing.assert_close(seen[i][inside], model.scheduler.add_noise(given, noise, t[None])[inside])


def test_the_same_as_the_controlnet_pipeline_of_diffusers(two):
    from diffusers import StableDiffusionControlNetPipeline

    model, net = two.model, copy.deepcopy(two.body.trunk)
    net.controlnet_cond_embedding = torch.nn.Sequential(two.body.encoder, two.body.entry)
    parts = {name: part for name, part in model.pipeline.components.items() if name != "controlnet"}
    pipeline = StableDiffusionControlNetPipeline(**parts, controlnet=net, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    hands, body = pose()
    none = torch.zeros(1, 128, 128, dtype=torch.bool)
    made, skeleton = two.around(
        torch.full((1, 3, 128, 128), 0.5), none, hands, body, "a person", Expansion(0), seed=5, steps=3, guidance_scale=3.0
    )
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    theirs = pipeline(
        "a person", image=skeleton, num_inference_steps=3, guidance_scale=3.0, latents=noise, output_type="pt"
    ).images
    torch.testing.assert_close(made, theirs, atol=2e-3, rtol=0)


def test_the_hand_comes_first_stays_as_it_was_and_the_model_is_as_before(two):
    hands, body = pose(2)
    own, order = two.model.denoiser, []
    hooks = [
        two.network.unet.register_forward_pre_hook(lambda m, args: order.append("hand")),
        own.register_forward_pre_hook(lambda m, args: order.append("body")),
    ]
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    before = two.model.predict(latents, 500, two.model.condition(["a cat"])).raw
    order.clear()
    try:
        made = two.run(hands, body, ["a person", "a man"], seed=3, steps=2)
    finally:
        for hook in hooks:
            hook.remove()
    assert order == ["hand", "hand", "body", "body"]
    assert (
        made.images.shape == made.stage1.shape == made.skeleton.shape == (2, 3, 128, 128) and made.hand_mask.dtype == torch.bool
    )
    assert two.model.denoiser is own
    assert torch.equal(two.model.predict(latents, 500, two.model.condition(["a cat"])).raw, before)
    alone = two.run(hands[1:], body[1:], "a man", seed=4, steps=2)
    torch.testing.assert_close(alone.images, made.images[1:], atol=1e-4, rtol=0)


def test_restored_after_an_exception(two):
    own = two.model.denoiser
    with pytest.raises(BadInput, match="2 prompts for 1"):
        two.run(*pose(), ["a", "b"], steps=1)
    with pytest.raises(BadInput, match="0 steps"):
        two.run(*pose(), "a person", steps=0)
    assert two.model.denoiser is own and not two.model.seams.state._open


def test_blending_is_in_latents_not_in_pixels(two, monkeypatch):
    calls = []
    decode = two.model.decode
    monkeypatch.setattr(two.model, "decode", lambda z: calls.append(len(z)) or decode(z))
    hands, body = pose()
    two.around(torch.full((1, 3, 128, 128), 0.5), square(), hands, body, "a person", Expansion(16), steps=4)
    assert len(calls) == 1, "decoded once, at the end"


def test_the_mask_is_the_generated_one(two, monkeypatch):
    """Another generated mask gives another region, whatever the pose."""
    hands, _ = pose()

    def generated(*args, **options):
        picture = torch.full((1, 3, 128, 128), 0.1)
        picture[:, :, 32:96, 32:64] = 0.9
        picture[:, :, :4, :4] = 0.9  # a stray part
        return {"hand": torch.zeros(1, 4, 16, 16), "mask": picture}

    monkeypatch.setattr(hand_stages, "ddim_joint", generated)
    monkeypatch.setattr(two.model, "decode", lambda z: z if z.shape[1] == 3 else torch.zeros(1, 3, 128, 128))
    canvas, mask = two.hands(hands, (128, 128))
    rows, columns = mask[0].any(1).nonzero(), mask[0].any(0).nonzero()
    tall, wide = (int(x.max() - x.min()) + 1 for x in (rows, columns))
    assert tall == pytest.approx(2 * wide, abs=2), "the generated rectangle, without the stray part"
    assert bool((canvas[0, :, mask[0]] == 0).all())


@pytest.mark.filterwarnings("ignore:the prompt")  # the tiny tokenizer spells what the tabletop does not say
def test_training_on_a_given_base_leaves_it_frozen(tmp_path):
    model = build()
    before = {name: value.clone() for name, value in model.denoiser.state_dict().items()}
    size = model.default_size
    data = (hand_pictures(1, 0, size), body_pictures(1, 0, size))
    recipe, options = HandToDiffusion(base="given", batch=1, rate=1e-3), {"folder": tmp_path, "progress": False}
    assert recipe.stages() == ["hand", "body"]
    recipe.fit(model, data, Budget(steps=2), **options)
    assert all(torch.equal(value, before[name]) for name, value in model.denoiser.state_dict().items())
    loaded = TwoStage.load(tmp_path, model)
    assert loaded.unet == {} and loaded.network.unet.config.in_channels == 8
    assert float(loaded.body.trunk.controlnet_mid_block.weight.abs().max()) > 0, "the ControlNet trained"
    with pytest.raises(BadInput, match="other weights"):
        load_control(tmp_path / "export" / "body" / "control", load("mini-sd"))
    with pytest.raises(BadInput, match="without a base"):
        TwoStage.load(tmp_path)


# What is refused


def test_bad_input(two):
    hands, body = pose()
    with pytest.raises(BadInput, match="outside of the canvas"):
        two.run(hands + 100, body, "a person")
    with pytest.raises(BadInput, match="smaller than 2 latent cells"):
        two.run(hands.mean(2, keepdim=True) + (hands - hands.mean(2, keepdim=True)) * 0.05, body, "a person")
    with pytest.raises(BadInput, match="hand prompts"):
        two.hands(hands, (128, 128), ["a", "b"])
    with pytest.raises(BadKnob, match="lower one"):
        HandToDiffusion(expand_until=0.95)
    with pytest.raises(BadInput, match="one of each"):
        HandPictures(torch.zeros(2, 3, 8, 8), torch.zeros(1, 8, 8), torch.zeros(2, 3, 8, 8), ("a", "b"))
    with pytest.raises(BadInput, match="one of each"):
        BodyPictures(torch.zeros(0, 3, 8, 8), torch.zeros(0, 3, 8, 8), (), torch.zeros(0, 2, 21, 2), torch.zeros(0, 2, 5))


# Miniature


def test_registered_and_made_from_words():
    assert get("hand_to_diffusion") is HandToDiffusion
    assert make("hand_to_diffusion", {"radius": "0", "trains": "all"}) == HandToDiffusion(radius=0.0, trains="all")
    assert HandToDiffusion(compare=True).stages() == ["judge", "base", "hand", "body", "single"]
    assert HandToDiffusion(part="hand").stages() == ["base", "hand"]
    assert mirrored("an open left hand and a right fist") == "an open right hand and a left fist"


def test_training_runs_and_resumes(tmp_path):
    recipe = HandToDiffusion(compare=True, trains="all", scenes=2, batch=1)
    options = {"folder": tmp_path, "progress": False}
    assert recipe.fit(None, None, Budget(steps=5), **options).steps == 5
    resumed = recipe.fit(None, None, Budget(steps=10), resume=True, **options)
    assert resumed.steps > 5
    loaded = TwoStage.load(tmp_path)
    assert loaded.unet and loaded.model.name == "hands-base"
    load_judge(tmp_path / "export")
    with pytest.raises(BadInput, match="no judge"):
        load_judge(tmp_path)


@pytest.fixture(scope="module")
def bundled():
    return TwoStage.load()


def test_the_bundled_hands_are_where_the_pose_says(bundled):
    figures = figures_in_view(3, HELD_OUT + 1)
    truth = render_bodies(figures, 64)
    _, mask = bundled.hands(truth.hand_keypoints, (64, 64), [f"a {f.skin} hand" for f in figures], steps=8)
    true = truth.hand_masks.any(1)
    assert float(((mask & true).sum((1, 2)) / (mask | true).sum((1, 2))).mean()) > 0.5
    place = miniatures.adapter("hand_to_diffusion")
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < 8 * 2**20
    assert (place / "single").is_dir() and (place / "judge.safetensors").exists()


def test_the_judge_reads_pictures_not_the_input(bundled):
    """On true renders it finds the joints; on an empty picture with the same squares it does not."""
    from diffolio.models.hands import crop_boxes

    truth = render_bodies(figures_in_view(6, HELD_OUT + 2), 64)
    there = ~truth.hand_keypoints.flatten(2).isnan().any(-1)
    points, at = truth.hand_keypoints[there][..., :2], there.nonzero()[:, 0]
    judge, boxes = load_judge(miniatures.adapter("hand_to_diffusion")), crop_boxes(points).float()
    seen, blind = (
        (read_poses(judge, images[at], boxes)[0] - points).norm(dim=-1).mean()
        for images in (truth.images, truth.images * 0 + 0.5)
    )
    assert float(seen) < 0.6 * float(blind)


def test_a_run_draws_figures(bundled):
    model = Model(copy.copy(tiny_sd()), name="another")
    result = HandToDiffusion().run(Job(model, ["x", "y"], steps=2))
    assert set(result.images) == {"true figure", "pose", "first stage", "its mask", "second stage"}
    assert result.images["second stage"].shape == (2, 3, 64, 64) and "takes the place" in result.report["notes"][0]


def test_overlapping_hands_are_merged(bundled):
    truth = render_bodies(figures_in_view(8, HELD_OUT), 64)
    hand = truth.hand_keypoints[~truth.hand_keypoints.isnan().flatten(1).any(1)][:1, :1]
    with pytest.warns(DiffolioWarning, match="merged"):
        bundled.hands(torch.cat([hand, hand], 1), (64, 64), steps=2)
