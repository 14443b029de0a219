"""Model.predict against what the pipelines themselves hand to their schedulers, and its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.process import add_noise, combine, ddim_step, invert, reconstruct
from diffolio.process.inversion import residuals
from tests.models.tiny import tiny_model

ALL = ["sd", "sd_v", "sdxl", "pixart", "sd3"]
PROMPTS = ["a red circle left of a blue star", "a green tree"]
SIZE = {"height": 64, "width": 96}  # latents 8x12


def handed_to_the_scheduler(model: Any, guidance_scale: float) -> list[tuple[Any, torch.Tensor, torch.Tensor]]:
    """(t, latents, combined raw output) of every step of a plain pipeline call."""
    seen, scheduler = [], model.scheduler
    original = scheduler.step

    def step(output: torch.Tensor, t: Any, latents: torch.Tensor, **kwargs: Any) -> Any:
        seen.append((t, latents.clone(), output.clone()))
        return original(output, t, latents, **kwargs)

    import functools

    scheduler.step = functools.wraps(original)(step)
    try:
        model.sample(PROMPTS, seed=1, steps=2, guidance_scale=guidance_scale, **SIZE)
    finally:
        del scheduler.step
    return seen


@pytest.mark.parametrize("which", ALL)
@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
@torch.no_grad()
def test_predict_is_the_pipelines_own_output(which: str, guidance_scale: float) -> None:
    """So are the sizes that SDXL is told, PixArt's cut variance, and the input scaling."""
    model = tiny_model(which)
    condition = model.condition(PROMPTS)
    for t, latents, output in handed_to_the_scheduler(model, guidance_scale):
        prediction = model.predict(latents, t, condition, guidance_scale)
        torch.testing.assert_close(prediction.raw, output, rtol=1e-5, atol=1e-5)
        assert prediction.raw.shape == latents.shape == prediction.clean.shape
        torch.testing.assert_close(
            add_noise(prediction.clean, prediction.noise, prediction.alpha, prediction.sigma), latents, rtol=1e-4, atol=1e-4
        )
        assert prediction.kind == model.prediction


@pytest.mark.parametrize("which", ["sd", "sdxl", "pixart", "sd3"])
@torch.no_grad()
def test_rows_and_their_combination(which: str) -> None:
    model = tiny_model(which)
    condition = model.condition(PROMPTS)
    x = torch.randn(2, model.channels, 8, 8, generator=torch.Generator().manual_seed(0))
    rows = model.predict_rows(x, 300, condition, ("uncond", "cond"))
    assert list(rows) == ["uncond", "cond"]
    guided = model.predict(x, 300, condition, guidance_scale=5.0)
    torch.testing.assert_close(guided.raw, combine(rows["uncond"].raw, rows["cond"].raw, 5.0))
    torch.testing.assert_close(model.predict(x, 300, condition, rows=("uncond",)).raw, rows["uncond"].raw, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.predict(x, 300, condition).raw, rows["cond"].raw, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(rows["uncond"].raw, rows["cond"].raw, atol=1e-5)


@pytest.mark.parametrize("which", ["sd", "sdxl", "pixart", "sd3"])
@torch.no_grad()
def test_each_sample_may_have_its_timestep(which: str) -> None:
    model = tiny_model(which)
    condition = model.condition(PROMPTS)
    x = torch.randn(2, model.channels, 8, 8, generator=torch.Generator().manual_seed(0))
    both = model.predict(x, torch.tensor([100, 700]), condition, guidance_scale=2.0)
    for i, t in enumerate((100, 700)):
        alone = model.predict(x[i : i + 1], t, condition.index(i), guidance_scale=2.0)
        torch.testing.assert_close(both.clean[i : i + 1], alone.clean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("which", ["sd", "sdxl", "pixart", "sd3"])
def test_gradients_reach_latents_and_condition(which: str) -> None:
    model = tiny_model(which)
    condition = model.condition("a red circle")
    states = condition["cond"]["encoder_hidden_states"].clone().requires_grad_(True)
    condition = condition.with_row("cond", encoder_hidden_states=states)
    x = torch.randn(1, model.channels, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    model.predict(x, 500, condition, guidance_scale=3.0).clean.square().mean().backward()
    assert float(x.grad.abs().max()) > 0  # type: ignore[union-attr]
    assert float(states.grad.abs().max()) > 0  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in model.denoiser.parameters())


def test_the_gradient_is_the_right_one() -> None:
    """A directional derivative of the clean estimate against finite differences."""
    model = tiny_model("pixart")
    condition = model.condition("a red circle")
    x, direction = (torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.predict(x, 500, condition).clean.sum(), x)
    with torch.no_grad():
        step = 1e-2
        ends = [model.predict(x + s * step * direction, 500, condition).clean.sum() for s in (1, -1)]
    torch.testing.assert_close((gradient * direction).sum(), (ends[0] - ends[1]) / (2 * step), rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("which", ["sd", "sd_v", "pixart"])
@torch.no_grad()
def test_reconstruct_is_sampling(which: str) -> None:
    """The explicit DDIM loop from noise arrives where the pipeline does."""
    model = tiny_model(which)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sampled = model.sample(PROMPTS, latents=noise, steps=3, guidance_scale=3.0).latents
    looped = reconstruct(model, noise, model.condition(PROMPTS), 3.0, steps=3)
    torch.testing.assert_close(looped, sampled, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("which", ["sd", "sd_v", "sdxl", "pixart"])
@torch.no_grad()
def test_inversion_on_real_architectures(which: str) -> None:
    """The first step is the formula, and sampling retraces an inversion that is solved to its fixed point."""
    model = tiny_model(which)
    condition = model.condition("a red circle", height=64, width=64)
    z0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = invert(model, z0, condition, steps=3)
    solved = invert(model, z0, condition, steps=3, solver="picard", rounds=6, tol=0.0)
    first = plain.timesteps[0]
    eps = model.predict(z0, first, condition).noise
    levels = model.scheduler.final_alpha_cumprod, model.scheduler.alphas_cumprod[first]
    torch.testing.assert_close(plain.latents[1], ddim_step(z0, eps, *levels), rtol=1e-4, atol=1e-4)
    assert plain.prompts == ["a red circle"]
    # Nearer to the fixed point, and so nearer to the original when sampled.
    assert float(residuals(model, solved).max()) < 0.5 * float(residuals(model, plain).max())
    errors = [float((reconstruct(model, path) - z0).square().mean()) for path in (solved, plain)]
    assert errors[0] < 0.5 * errors[1]


def test_bad_input() -> None:
    model = tiny_model()
    condition = model.condition(PROMPTS)
    with pytest.raises(BadInput, match=r"takes \(2, 4, h, w\)"):
        model.predict(torch.zeros(1, 4, 8, 8), 10, condition)
    with pytest.raises(BadInput, match="predict_rows"):
        model.predict(torch.zeros(2, 4, 8, 8), 10, condition, rows=("uncond", "cond"))
    with pytest.raises(BadInput, match="timestep"):
        model.predict(torch.zeros(2, 4, 8, 8), 1000, condition)
    with pytest.raises(UnknownName, match="uncond"):
        model.predict(torch.zeros(2, 4, 8, 8), 10, condition, rows=("unconditional",))
