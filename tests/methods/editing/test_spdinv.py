"""SPDInv: its fixed point against torch's own optimiser, equal to DDIM inversion where it should be, and on true UNets."""

import copy
import math

import pytest
import torch

from diffolio.errors import BadInput, BadKnob, UnknownName, Unsupported
from diffolio.methods.editing.spdinv import SPDInv, fixed_point
from diffolio.models import DiffolioWarning, Model
from diffolio.process.inversion import ddim_step, ddim_timesteps, invert, picard, reconstruct, residuals
from diffolio.process.prediction import Prediction
from diffolio.results import Job
from tests.models.tiny import tiny_model, tiny_sd

SOURCES, TARGETS = ["a red fish", "a blue house"], ["a green fish", "a blue boat"]


class Toy:
    """eps(z, t, c) = c * tanh(z W) in float64: an inversion whose fixed points are easily checked."""

    def __init__(self):
        self.scheduler = tiny_sd().scheduler
        self.weight = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 3
        self.calls = []

    def predict(self, latents, t, condition, guidance_scale=None):
        assert guidance_scale is None, "inversion is conditional only"
        self.calls.append((len(latents), int(t)))
        noise = condition.scale[:, None] * torch.tanh(latents @ self.weight) + t / 1000
        return Prediction(noise, latents, torch.ones(1).double(), torch.ones(1).double(), "epsilon")


class Scales:
    prompts = ()

    def __init__(self, scale):
        self.scale = scale

    def index(self, chosen):
        return Scales(self.scale[chosen])


def toy_problem(n=3):
    z = torch.randn(n, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return Toy(), z, Scales(torch.linspace(0.2, 1.5, n, dtype=torch.float64))


def torch_reference(toy, z_prev, condition, t_prev, t, rounds, lr, detach=False):
    """The equations written out, torch.optim.AdamW, one sample; the best latents seen are kept."""
    table = toy.scheduler.alphas_cumprod.double()
    a, b = (table[i] if i >= 0 else toy.scheduler.final_alpha_cumprod.double() for i in (t_prev, t))

    def f(z):
        noise = condition.scale[:, None] * torch.tanh(z @ toy.weight) + t / 1000
        return b.sqrt() * (z_prev - (1 - a).sqrt() * noise) / a.sqrt() + (1 - b).sqrt() * noise

    z = f(z_prev).clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([z], lr=lr)
    best, lowest = z.detach().clone(), torch.inf
    for number in range(rounds + 1):
        optimizer.zero_grad()
        loss = (z - (f(z).detach() if detach else f(z))).square().mean()
        if float(loss) < lowest:
            best, lowest = z.detach().clone(), float(loss)
        if number < rounds:
            loss.backward()
            optimizer.step()
    return best


def test_the_loop_equals_torchs_adamw_with_the_gradient_through_both_terms():
    toy, z, condition = toy_problem()
    trajectory = invert(toy, z, condition, steps=10, solver=fixed_point(rounds=7, lr=2e-3, tol=0.0))
    z_prev, t = trajectory.latents[3], trajectory.timesteps[3]
    found = trajectory.latents[4]
    for i in range(3):
        one = Scales(condition.scale[i : i + 1])
        expected = torch_reference(toy, z_prev[i : i + 1], one, t - 100, t, 7, 2e-3)
        torch.testing.assert_close(found[i : i + 1], expected, atol=1e-9, rtol=1e-9)
        half = torch_reference(toy, z_prev[i : i + 1], one, t - 100, t, 7, 2e-3, detach=True)
        assert (half - expected).abs().max() > 1e-6


def test_each_sample_stops_by_itself_and_leaves_the_batch():
    toy, z, condition = toy_problem()
    solver = fixed_point(rounds=1500, lr=1e-3, tol=1e-7)
    together = invert(toy, z, condition, 5, solver)
    sizes = [n for n, _ in toy.calls]
    assert {1, 2, 3} <= set(sizes), "samples that are done are not computed again"
    assert residuals(toy, together).max() < 1e-7
    for i in range(3):
        alone = invert(toy, z[i : i + 1], Scales(condition.scale[i : i + 1]), 5, solver)
        for a, b in zip(together.latents, alone.latents, strict=True):
            torch.testing.assert_close(a[i : i + 1], b, atol=1e-12, rtol=1e-12)


def test_a_fresh_optimiser_for_every_timestep():
    """A step from its own z_prev does not depend on what came before."""
    toy, z, condition = toy_problem()
    path = invert(toy, z, condition, 5, fixed_point(5, 1e-3, 0.0))
    t, t_prev = path.timesteps[2], path.timesteps[1]
    first = ddim_step(path.latents[2], toy.predict(path.latents[2], t, condition).noise, *levels(toy, t_prev, t))
    again = fixed_point(5, 1e-3, 0.0)(toy, path.latents[2], t_prev, t, condition, first)
    torch.testing.assert_close(again, path.latents[3], atol=1e-12, rtol=0)


def levels(toy, *timesteps):
    return [toy.scheduler.alphas_cumprod[t] for t in timesteps]


def test_the_residual_never_grows():
    toy, z, condition = toy_problem()
    plain = invert(toy, z, condition, 5)
    wild = invert(toy, z, condition, 5, fixed_point(4, lr=1e3, tol=0.0))
    for a, b in zip(plain.latents, wild.latents, strict=True):
        assert torch.equal(a, b), "no step helped, so the first guess stays"
    assert (residuals(toy, invert(toy, z, condition, 5, fixed_point(10, 1e-3, 0.0))) <= residuals(toy, plain) + 1e-15).all()


@pytest.fixture(scope="module")
def model():
    return tiny_model("sd")


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))


def test_no_rounds_are_plain_ddim_inversion_by_its_formula(model, images):
    method = SPDInv(steps=3)
    assert method.neutral().rounds == 0
    found = method.neutral().invert(model, images, SOURCES)
    condition = model.condition(SOURCES)
    scheduler, z = model.scheduler, model.encode(images)
    for index, t in enumerate(ddim_timesteps(scheduler, 3)):
        t_prev = t - 333
        a = scheduler.alphas_cumprod[t_prev] if t_prev >= 0 else scheduler.final_alpha_cumprod
        b = scheduler.alphas_cumprod[t]
        with torch.no_grad():
            noise = model.denoiser(z, t, **condition["cond"]).sample
        z = b.sqrt() * (z - (1 - a).sqrt() * noise) / a.sqrt() + (1 - b).sqrt() * noise
        assert found.timesteps[index] == t
        torch.testing.assert_close(found.latents[index + 1], z, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("which", ["sd", "sd_v", "sdxl"])
def test_inverts_and_edits_true_unets(which, images):
    model = tiny_model(which)
    flags = [p.requires_grad_(True).requires_grad for p in model.denoiser.parameters()]
    before = model.sample("a red fish", steps=2, guidance_scale=3.0).images
    plain = SPDInv(steps=2).neutral().invert(model, images, SOURCES)
    method = SPDInv(steps=2, rounds=4, lr=3e-3)
    better = method.invert(model, images, SOURCES)
    assert (residuals(model, better)[1] < residuals(model, plain)[1]).all()
    assert all(p.grad is None for p in model.denoiser.parameters())
    assert [p.requires_grad for p in model.denoiser.parameters()] == flags
    model.denoiser.requires_grad_(False)
    edited = method.edit(model, better, TARGETS)
    assert edited.shape == images.shape
    assert (edited - images).abs().mean() > 1e-3
    assert torch.equal(model.sample("a red fish", steps=2, guidance_scale=3.0).images, before), "the model is as it was"
    assert not model.denoiser._forward_hooks
    assert not vars(model.scheduler).keys() & {"step"}


def test_the_source_as_its_own_target_is_the_reconstruction(model, images):
    """With the source as null prompt guidance cancels, so nothing but the inversion's own error is left."""
    method = SPDInv(steps=3, rounds=0, prox="none")
    trajectory = method.invert(model, images, SOURCES)
    with torch.no_grad():
        expected = model.decode(reconstruct(model, trajectory))
    torch.testing.assert_close(method.edit(model, trajectory, SOURCES), expected, atol=2e-4, rtol=1e-3)


def test_an_edit_does_not_depend_on_its_batch(model, images):
    method = SPDInv(steps=2, rounds=2, blend="", reweight=2.0)
    both = method.edit(model, method.invert(model, images, SOURCES), TARGETS)
    alone = method.edit(model, method.invert(model, images[1], SOURCES[1]), TARGETS[1])
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-3)


def test_every_part_of_the_edit_acts(model, images):
    trajectory = SPDInv(steps=4, rounds=0).invert(model, images[:1], SOURCES[:1])

    def edit(**knobs):
        return SPDInv(steps=4, rounds=0, **knobs).edit(model, trajectory, TARGETS[0])

    usual = edit()
    for knobs in (
        {"cross_replace": 0.0}, {"self_replace": 0.0}, {"prox": "none"}, {"prox": "l1"}, {"quantile": 0.3}, {"npi_interp": 0.5},
        {"align": "replace"}, {"reweight": 3.0}, {"guidance": 2.0},
    ):  # fmt: skip
        assert not torch.equal(edit(**knobs), usual), knobs
    assert not torch.equal(edit(reweight=3.0, blend="fish"), edit(reweight=3.0, blend="red,green"))


def test_picard_is_the_other_solver(model, images):
    method = SPDInv(steps=2, rounds=3, tol=0.0, solver="picard")
    condition = model.condition(SOURCES)
    expected = invert(model, model.encode(images), condition, 2, picard(3, 0.0))
    assert torch.equal(method.invert(model, images, SOURCES).noise, expected.noise)
    assert not torch.equal(SPDInv(steps=2, rounds=3, tol=0.0).invert(model, images, SOURCES).noise, expected.noise)


def test_the_call_gives_an_edit_that_saves(model, images, tmp_path):
    mask = torch.zeros(1, 128, 128, dtype=torch.bool)
    mask[:, 30:90, 30:90] = True
    edit = SPDInv(steps=2, rounds=1)(model, images[0], SOURCES[0], TARGETS[0], mask)
    assert edit.edited.shape == edit.reconstruction.shape == edit.change.shape == (1, 3, 128, 128)
    assert edit.change[:, :, 40:80, 40:80].max() == 0
    names = {
        "residual",
        "residual_largest",
        "latent_reconstruction_mse",
        "rms_change",
        "background_mse",
        "background_psnr",
        "background_ssim",
        "structure_distance",
        "model_calls",
        "seconds",
    }
    assert set(edit.numbers) - {"background_perceptual"} == names
    assert all(math.isfinite(value) for value in edit.numbers.values())
    free = reconstruct(model, edit.trajectory)
    assert edit.numbers["latent_reconstruction_mse"] == pytest.approx(
        float((free - edit.trajectory.clean).square().mean()), rel=1e-4
    )
    written = {path.name for path in edit.save(tmp_path)}
    assert {"edit-0.png", "change-0.png", "sheet.png", "result.json"} <= written


def test_run_with_and_without_a_picture(model, images):
    drawn = SPDInv(rounds=1).run(Job(model, SOURCES, steps=2))
    assert drawn.report["target"] == ["a green fish", "a red house"]
    assert drawn.images["source"].shape == (2, 3, 128, 128)
    assert drawn.report["steps"] == 2
    given = SPDInv(rounds=1, steps=3).run(
        Job(model, SOURCES[:1], images[0, :, :, :100], steps=2, guidance_scale=2.0, target="a green fish")
    )
    assert given.images["edit"].shape == given.images["baseline"].shape == (1, 3, 128, 100)
    assert given.report["steps"] == 3
    assert given.numbers["residual"] <= given.numbers["residual_baseline"]


def test_bad_input(model, images):
    method = SPDInv(steps=2, rounds=1)
    with pytest.raises(BadInput, match="3 source prompts for 2 pictures"):
        method.invert(model, images, ["a", "b", "c"])
    with pytest.raises(BadInput, match="an empty source prompt"):
        method.invert(model, images, ["a red fish", " "])
    with pytest.raises(BadInput, match="multiples of 8"):
        method.invert(model, images[..., :100], SOURCES)
    with pytest.raises(BadInput, match="1 to 1000"):
        SPDInv(steps=2000).invert(model, images, SOURCES)
    with pytest.warns(DiffolioWarning, match="is cut off"):
        SPDInv(steps=1, rounds=0).invert(model, images[:1], "a red fish " * 20)
    trajectory = method.invert(model, images, SOURCES)
    with pytest.raises(BadInput, match="same steps"):
        SPDInv(steps=3).edit(model, trajectory, TARGETS)
    with pytest.raises(BadInput, match="1 target prompts for 2 pictures"):
        method.edit(model, trajectory, TARGETS[:1])
    with pytest.raises(UnknownName, match="'circle' is not in the prompt"):
        SPDInv(steps=2, blend="circle").edit(model, trajectory, TARGETS)
    with pytest.raises(BadKnob, match="source word,target word"):
        SPDInv(steps=2, blend="a,b,c").edit(model, trajectory, TARGETS)
    assert not model.denoiser._forward_hooks, "nothing is left behind by what was refused"


def test_refused_models(images):
    with pytest.raises(Unsupported, match="works on unet"):
        SPDInv().invert(tiny_model("sd3"), images, SOURCES)
    from diffusers import DDPMScheduler

    pipeline = copy.copy(tiny_sd())
    pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    with pytest.raises(Unsupported, match="DDIM"):
        SPDInv(steps=2).invert(Model(pipeline), images, SOURCES)
