"""RG-LCD: the consistency function, the teacher's step, the proxy reward, and that a trained student is an ordinary LCM."""

import functools

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import nn

from diffolio.errors import BadInput, BadKnob, DiffolioError, NotFinite, Unsupported
from diffolio.methods.acceleration.rg_lcd import RGLCD, RewardGuided, preference_loss
from diffolio.models import Model, load, students
from diffolio.nets.latent_reward import LatentReward
from diffolio.training import distill
from diffolio.training.latents import CaptionedLatents, captioned_latents
from diffolio.training.loop import Budget, Settings, train
from diffolio.training.rewards import Expert
from tests.models.tiny import tiny_sd, tiny_sdxl

CAPTIONS = ["a red circle", "a blue star", "a green tree", "a yellow fish"]


@functools.cache
def teacher():
    return Model(tiny_sd(), name="tiny-sd")


@functools.cache
def small():
    """For what does not depend on the layout: two levels, and pictures of 16 pixels from latents of 8 x 8."""
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


def pool(model=None):
    model = model or small()
    cells = model.default_size // model.factor
    made = torch.randn(4, model.channels, cells, cells, generator=torch.Generator().manual_seed(3))
    return made, CAPTIONS


def data():
    return captioned_latents(small(), pool(), 0)


def objective(batch=2, student=None):
    return distill.ConsistencyDistillation(small(), student or students.guided_student(small().denoiser), data(), batch=batch)


def recipe(**knobs):
    small = {"proxy_shape": (2, 32, 1), "proxy_steps": 1, "rate": 1e-3, "batch": 2, "proxy_rate": 1e-2}
    return RGLCD(**{**small, **knobs})


def brightness(images, prompts):
    return images.mean((1, 2, 3))


def shown(images, prompts):
    """Not differentiable: counts what is bright."""
    with torch.no_grad():
        return (images > 0.5).float().mean((1, 2, 3))


def proxy_of(model, seed=0):
    torch.manual_seed(seed)
    cells = model.default_size // model.factor
    return LatentReward(model.pipeline.tokenizer, model.pipeline.text_encoder, model.channels, cells, 2, 32, 2)


# Exact ------------------------------------------------------------------------------------------------------------------


def test_the_grid_is_ddims_trailing_spacing_and_holds_every_step_of_lcmscheduler():
    scheduler = teacher().scheduler
    grid = distill.ddim_grid(1000, 50)
    trailing = DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing", steps_offset=0)
    trailing.set_timesteps(50)
    assert grid.flip(0).tolist() == trailing.timesteps.tolist()
    assert trailing.timesteps[:2].tolist() == [999, 979]
    few = students.lcm_scheduler(scheduler)
    for steps in (1, 2, 4, 8, 50):
        few.set_timesteps(steps)
        assert set(few.timesteps.tolist()) <= set(grid.tolist())
        assert few.timesteps[0] == 999


def test_the_solver_step_equals_ddimscheduler():
    config = teacher().scheduler.config
    assert not config.set_alpha_to_one
    scheduler = DDIMScheduler.from_config(config, timestep_spacing="trailing", steps_offset=0, clip_sample=False)
    scheduler.set_timesteps(50)
    made = objective()
    x, raw = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64)
    for index in (0, 1, 24, 49):
        t = made.grid[index]
        a = scheduler.alphas_cumprod[t].double()
        clean = (x - (1 - a).sqrt() * raw) / a.sqrt()
        ours = distill.ddim_step(clean, raw, made.alphas_cumprod_to[index : index + 1])
        theirs = scheduler.step(raw, t, x, eta=0.0).prev_sample
        assert torch.allclose(ours, theirs, atol=1e-6)
        assert made.landing[index] == max(int(t) - 20, 0)


def test_the_boundary_equals_lcmscheduler_and_the_identity_at_zero():
    t = torch.tensor([0, 19, 499, 999])
    c_skip, c_out = distill.boundary(t)
    assert c_skip[0] == 1
    assert c_out[0] == 0
    for i, step in enumerate(t.tolist()):
        theirs = LCMScheduler().get_scalings_for_boundary_condition_discrete(step)
        assert c_skip[i].item() == pytest.approx(theirs[0], rel=1e-6)
        assert c_out[i].item() == pytest.approx(theirs[1], rel=1e-6)


def test_f_at_zero_is_the_identity_and_equals_the_schedulers_step_elsewhere():
    model, student = teacher(), students.guided_student(teacher().denoiser).eval()
    nn.init.normal_(student.time_embedding.cond_proj.weight, generator=torch.Generator().manual_seed(0))
    row = model.condition(CAPTIONS[:2]).rows["cond"]
    x = torch.randn(2, model.channels, 8, 8, generator=torch.Generator().manual_seed(1))
    w = torch.tensor([3.0, 9.0])
    with torch.no_grad():
        assert torch.equal(distill.consistency(student, model, x, torch.tensor([0, 0]), w, row), x)
        t = torch.tensor([499, 499])
        ours = distill.consistency(student, model, x, t, w, row)
        raw = student(x, t, timestep_cond=distill.guidance_embedding(w), **row).sample
    scheduler = students.lcm_scheduler(model.scheduler)
    scheduler.set_timesteps(2)
    theirs = scheduler.step(raw, torch.tensor(499), x, return_dict=True).denoised
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_guidance_embedding_is_the_pipelines():
    pipeline = students.student_pipeline(teacher().pipeline, students.guided_student(teacher().denoiser))
    w = torch.tensor([0.0, 3.0, 7.5, 14.0])
    for width in (256, 33):
        assert torch.equal(distill.guidance_embedding(w, width), pipeline.get_guidance_scale_embedding(w, width))


def test_guidance_is_extrapolated_in_the_convention_of_lcm_and_huber_is_what_it_says():
    cond, uncond = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    w = torch.tensor([0.0, 1.0, 6.5], dtype=torch.float64)
    guided = distill.extrapolate(cond, uncond, w)
    usual = uncond + (w + 1).view(-1, 1, 1, 1) * (cond - uncond)
    assert torch.allclose(guided, usual)
    by_hand = (((cond - uncond).square() + 1e-6).sqrt() - 1e-3).mean()
    assert torch.allclose(distill.pseudo_huber(cond, uncond), by_hand)


def test_the_student_starts_as_the_teacher_whatever_w_is():
    model = teacher()
    row = model.condition(CAPTIONS[:2]).rows["cond"]
    x, t = torch.randn(2, model.channels, 8, 8), torch.tensor([999, 19])
    with torch.no_grad():
        wanted = model.denoiser(x, t, **row).sample
        for student in (students.guided_student(model.denoiser), students.add_lora(students.guided_student(model.denoiser), 2)):
            given = student(x, t, timestep_cond=distill.guidance_embedding(torch.tensor([2.0, 9.0])), **row).sample
            assert torch.equal(given, wanted)


def test_the_average_of_the_target_and_what_the_loss_reaches():
    made = objective()
    before = made.target.conv_in.weight.clone()
    loss, _ = made.loss(0, torch.Generator().manual_seed(0))
    loss.backward()
    assert made.student.time_embedding.cond_proj.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in made.target.parameters())
    with torch.no_grad():
        made.student.conv_in.weight += 1
    made.loss(1, torch.Generator().manual_seed(0))
    assert torch.allclose(made.target.conv_in.weight, before + 0.05, atol=1e-6)


def test_preferences_against_a_written_out_kl():
    ours, theirs = torch.randn(2, 3, 5, dtype=torch.float64)
    loss, agreement = preference_loss(ours, theirs)
    total, same = 0.0, []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        q, p = torch.sigmoid(ours[i] - ours[j]), torch.sigmoid(theirs[i] - theirs[j])
        total += (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
        same.append(((q > 0.5) == (p > 0.5)).double().mean())
    assert torch.allclose(loss, torch.as_tensor(total))
    assert agreement == pytest.approx(float(sum(same)) / 3)
    assert preference_loss(theirs, theirs)[0].abs() < 1e-12
    hard, _ = preference_loss(ours, theirs, "cross_entropy")
    best = torch.where(theirs[0] >= theirs[1], ours[0] - ours[1], ours[1] - ours[0])
    wanted = -(nn.functional.logsigmoid(best) + sum(nn.functional.logsigmoid(ours[2] - ours[i]) for i in (0, 1))).mean()
    assert torch.allclose(hard, wanted)


# The proxy --------------------------------------------------------------------------------------------------------------


def test_the_proxy_learns_the_experts_order_and_only_in_its_tail():
    proxy = proxy_of(small())
    guided = RewardGuided(objective(), Expert(shown, 20.0), proxy, proxy_rate=1e-2)
    first = {name: p.detach().clone() for name, p in proxy.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(3, 4, *pool()[0].shape[1:], generator=generator)
    pair = distill.Pair(made[0] + 1, made[1], made[2] - 1, CAPTIONS, torch.ones(4), torch.zeros(4))
    told = [guided.teach(pair) for _ in range(15)]
    assert told[-1]["proxy_loss"] < 0.5 * told[0]["proxy_loss"]
    tail = {id(p) for p in proxy.tail()}
    for name, parameter in proxy.named_parameters():
        assert parameter.requires_grad is False
        if id(parameter) not in tail:
            assert torch.equal(parameter, first[name]), name
    assert any(not torch.equal(p, first[name]) for name, p in proxy.named_parameters())


def test_the_students_gradient_comes_through_the_frozen_proxy_only():
    def gradient(made):
        loss, told = made.loss(0, torch.Generator().manual_seed(0))
        loss.backward()
        return made.modules["student"].conv_out.weight.grad, told

    plain, _ = gradient(objective())
    without, _ = gradient(RewardGuided(objective(), Expert(shown), proxy_of(small()), beta=0.0))
    assert torch.equal(without, plain)
    made = RewardGuided(objective(), Expert(shown), proxy_of(small()))
    guided, told = gradient(made)
    assert not torch.allclose(without, guided)
    assert all(p.grad is None for p in made.proxy.parameters())
    assert {"distillation", "reward", "proxy_loss", "agreement", "expert"} == set(told)


# The recipe -------------------------------------------------------------------------------------------------------------


def test_a_trained_student_is_an_ordinary_lcm_pipeline(tmp_path):
    model = teacher()
    before = {name: p.clone() for name, p in model.denoiser.named_parameters()}
    flags = [p.requires_grad for p in model.pipeline.vae.parameters()]
    trained = recipe().fit(model, pool(model), Budget(steps=2), folder=tmp_path, progress=False)
    assert trained.steps == 2
    assert all(torch.equal(p, before[name]) for name, p in model.denoiser.named_parameters())
    assert flags == [p.requires_grad for p in model.pipeline.vae.parameters()]
    pipeline = LatentConsistencyModelPipeline.from_pretrained(tmp_path / "export", torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.unet.config.time_cond_proj_dim == 256
    options = {
        "num_inference_steps": 2,
        "guidance_scale": 4.0,
        "output_type": "pt",
        "generator": torch.Generator().manual_seed(0),
    }
    images = pipeline("a red circle", **options).images
    assert images.isfinite().all()
    student = load(str(tmp_path / "export"))
    a, b = (student.sample(["a red circle"], seed=0, steps=2, guidance_scale=g).images for g in (4.0, 9.0))
    assert a.isfinite().all()
    assert not torch.equal(a, b), "the guidance scale reaches the student"


def test_a_reward_that_is_not_differentiable_works_with_the_proxy(tmp_path):
    made = recipe(reward=shown)
    whole = made.fit(small(), pool(), Budget(steps=1), folder=tmp_path, progress=False)
    assert whole.losses["agreement"] >= 0
    with pytest.raises(DiffolioError, match="checkpoint"):
        made.fit(small(), pool(), Budget(steps=1), folder=tmp_path, progress=False)


def test_a_resumed_run_equals_an_unbroken_one(tmp_path):
    def guided():
        return RewardGuided(objective(batch=1), Expert(shown), proxy_of(small()), proxy_rate=1e-2)

    def run(made, folder):
        train(made, tmp_path / folder, Budget(steps=3), Settings(rate=1e-3, warmup=1, every=1), progress=False)
        return made

    whole, broken = run(guided(), "whole"), guided()
    original = broken.loss

    def dies(step, generator):
        if step == 2:
            raise KeyboardInterrupt
        return original(step, generator)

    broken.loss = dies
    with pytest.raises(KeyboardInterrupt):
        run(broken, "broken")
    rest = run(guided(), "broken")
    for name, module in whole.modules.items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, rest.modules[name].state_dict()[key]), (name, key)


def test_the_proxys_optimiser_is_carried_by_checkpoints():
    parameter = nn.Parameter(torch.ones(3))
    kept = distill.OptimizerState([parameter], 0.1)
    for _ in range(3):
        (parameter.square().sum()).backward()
        kept.optimizer.step()
        kept.optimizer.zero_grad()
    other_parameter = nn.Parameter(parameter.detach().clone())
    other = distill.OptimizerState([other_parameter], 0.1)
    other.load_state_dict(kept.state_dict())
    for p, state in ((parameter, kept), (other_parameter, other)):
        (p.square().sum()).backward()
        state.optimizer.step()
    assert torch.equal(parameter, other_parameter)
    assert all(not p.requires_grad for p in kept.parameters())


def test_direct_optimisation_reaches_the_student_through_the_decoder(tmp_path):
    trained = recipe(reward=brightness, proxy=False).fit(small(), pool(), Budget(steps=1), folder=tmp_path, progress=False)
    assert trained.steps == 1
    assert not (tmp_path / "proxy").exists()


def test_a_lora_student_equals_its_merged_pipeline_and_can_be_trained_on(tmp_path):
    small().pipeline.save_pretrained(tmp_path / "teacher")
    model = Model(small().pipeline, name=str(tmp_path / "teacher"))
    student = students.add_lora(students.guided_student(model.denoiser), 2)
    generator = torch.Generator().manual_seed(0)
    for name in distill.trainable(student):
        nn.init.normal_(student.get_parameter(name), 0.0, 0.2, generator=generator)
    students.save_student(tmp_path, student, model, {"ddim_steps": 50, "lora_rank": 2})
    start = Model(students.student_pipeline(model.pipeline, students.guided_student(model.denoiser)), name="start")
    light, whole = students.load_student(model, tmp_path), load(str(tmp_path / "export"))
    alone = load(str(tmp_path / "adapter"))
    a, b, c, d = (
        one.sample(["a red circle"], seed=0, steps=1, guidance_scale=4.0).images for one in (light, whole, start, alone)
    )
    assert (a - b).abs().max() < 0.1 * (a - c).abs().max(), "float16 rounding only"
    assert torch.equal(a, d), "an adapter finds its teacher by name"
    recipe(lora_rank=2, start=str(tmp_path)).fit(model, pool(), Budget(steps=1), folder=tmp_path / "more", progress=False)
    sizes = [(folder / "adapter" / students.ADAPTER).stat().st_size for folder in (tmp_path, tmp_path / "more")]
    assert sizes[0] == sizes[1], "it goes on from the adapter, still on the teacher"
    with pytest.raises(BadInput, match="rank"):
        fit(recipe(lora_rank=3, start=str(tmp_path)), tmp_path / "no")


def test_stable_diffusion_xl_distils_too(tmp_path):
    model = Model(tiny_sdxl(), name="tiny-sdxl")
    cells = model.default_size // model.factor
    latents = torch.randn(2, model.channels, cells, cells)
    recipe().fit(model, (latents, CAPTIONS[:2]), Budget(steps=1), folder=tmp_path, progress=False)
    assert load(str(tmp_path / "export")).sample(["a red circle"], steps=2, guidance_scale=4.0).images.isfinite().all()


# Bad input --------------------------------------------------------------------------------------------------------------


def fit(made, where, what=None):
    return made.fit(small(), pool() if what is None else what, Budget(steps=1), folder=where, progress=False)


def test_bad_rewards(tmp_path):
    with pytest.raises(Unsupported, match="proxy=True"):
        fit(recipe(reward=shown, proxy=False), tmp_path)
    with pytest.raises(BadInput, match=r"shape \(2,\)"):
        fit(recipe(reward=lambda images, prompts: images.mean()), tmp_path)
    with pytest.raises(BadInput, match="list"):
        fit(recipe(reward=lambda images, prompts: [0.0, 1.0]), tmp_path)
    with pytest.raises(NotFinite, match="finite"):
        fit(recipe(reward=lambda images, prompts: torch.full((len(images),), torch.nan)), tmp_path)
    with pytest.raises(BadInput, match="mini-clip"):
        fit(recipe(reward="mini-clop"), tmp_path)


def test_bad_knobs(tmp_path):
    for wrong in ({"beta": -0.1}, {"ema": 1.0}, {"lora_rank": 0}, {"pairs": "all"}, {"rate": 0.0}):
        with pytest.raises(BadKnob):
            recipe(**wrong)
    with pytest.raises(BadInput, match="divide"):
        fit(recipe(ddim_steps=48), tmp_path)
    for wrong in ((5.0,), (9.0, 2.0), (-1.0, 2.0)):
        with pytest.raises(BadInput, match="w_range"):
            fit(recipe(w_range=wrong), tmp_path)


def test_bad_data(tmp_path):
    latents, captions = pool()
    for wrong, said in (
        ((latents, ["a red circle", "", None, "a fish"]), "2 of 4 pictures have no caption"),
        ((latents, captions[:3]), "a caption for each"),
        ((latents[:, :3], captions), "channels"),
        ((latents[:0], []), "at least one"),
    ):
        with pytest.raises(BadInput, match=said):
            fit(recipe(), tmp_path, wrong)
    assert isinstance(captioned_latents(small(), CaptionedLatents(latents.half(), lambda i, rng: "x"), 0), CaptionedLatents)
