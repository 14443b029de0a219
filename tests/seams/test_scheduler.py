from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, HeunDiscreteScheduler
from torch import Tensor

from diffolio.errors import BadInput, Unsupported
from diffolio.seams import Seams, Site, StopSampling, stop
from diffolio.seams.run import step_of
from tests.models.tiny import TINY

STEPS = 3


def sample(which: str, guidance_scale: float = 3.0, **options: Any) -> Tensor:
    pipeline = TINY[which]()
    generator = torch.Generator().manual_seed(0)
    extra = {"clean_caption": False, "use_resolution_binning": False} if which == "pixart" else {}
    return pipeline(
        "a red circle", num_inference_steps=STEPS, generator=generator, output_type="latent", guidance_scale=guidance_scale,
        **{"height": 64, "width": 96, **extra, **options},
    ).images  # fmt: skip


@pytest.fixture(params=list(TINY))
def which(request: pytest.FixtureRequest) -> str:
    return request.param


def test_pipelines_tell_rows_samples_and_steps(which: str) -> None:
    seams = Seams(TINY[which]())
    sites: list[Site] = []
    calls: list[tuple[Any, ...]] = []
    steps: list[tuple[int, str]] = []
    plain = sample(which, num_images_per_prompt=2)
    with (
        seams.attention(qkv=lambda site, q, k, v: sites.append(site)),
        seams.denoiser(before=lambda call: calls.append((call.rows, call.samples, call.step, call.steps, call.guidance_scale))),
        seams.scheduler(
            before=lambda step, out, t, x: steps.append((step, "before")), after=lambda step, t, x: steps.append((step, "after"))
        ),
    ):
        assert torch.equal(sample(which, num_images_per_prompt=2), plain)
        guided = len(sites)
        sample(which, guidance_scale=1.0)
    scale = None if which == "pixart" else 3.0
    assert calls[:STEPS] == [(("uncond", "cond"), 2, i, STEPS, scale) for i in range(STEPS)]
    assert [call[:3] for call in calls[STEPS:]] == [(("cond",), 1, i) for i in range(STEPS)]
    assert {(site.rows, site.samples) for site in sites[:guided]} == {(("uncond", "cond"), 2)}
    assert {site.step for site in sites} == set(range(STEPS))
    assert steps == [(i, when) for i in range(STEPS) for when in ("before", "after")] * 2
    assert torch.equal(sample(which, num_images_per_prompt=2), plain)
    assert "step" not in TINY[which]().scheduler.__dict__


def test_edits_of_the_output_and_of_the_latents(which: str) -> None:
    seams = Seams(TINY[which]())
    with seams.scheduler(before=lambda step, out, t, x: (out * 0, x), after=lambda step, t, x: x.clone().fill_(step)):
        assert torch.equal(sample(which), torch.full_like(sample(which), STEPS - 1))
    seen: list[Tensor] = []
    with seams.scheduler(after=lambda step, t, x: x + 1), seams.scheduler(after=lambda step, t, x: seen.append(x)):
        result = sample(which)
    assert torch.equal(result, seen[-1] + 1)


def test_stop_ends_sampling_and_restores(which: str) -> None:
    seams = Seams(TINY[which]())
    plain = sample(which)

    def end(step: int, timestep: Any, latents: Tensor) -> None:
        if step == 1:
            stop(latents)

    with pytest.raises(StopSampling) as stopped, seams.scheduler(after=end), seams.attention(qkv=lambda site, q, k, v: None):
        sample(which)
    assert stopped.value.latents.shape == plain.shape
    assert torch.equal(sample(which), plain)


def test_replacing_the_scheduler_inside_is_refused() -> None:
    pipeline = TINY["sd"]()
    scheduler = pipeline.scheduler
    try:
        with Seams(pipeline).scheduler(after=lambda step, t, x: None):
            pipeline.scheduler = DDIMScheduler.from_config(scheduler.config)
            with pytest.raises(Unsupported, match="was replaced"):
                sample("sd")
    finally:
        pipeline.scheduler = scheduler
    assert "step" not in scheduler.__dict__
    with pytest.raises(BadInput, match="needs an editor"), Seams(pipeline).scheduler():
        pass


@pytest.mark.parametrize("scheduler", [DDIMScheduler(), EulerDiscreteScheduler(), FlowMatchEulerDiscreteScheduler()])
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_step_is_the_index_of_the_timestep(scheduler: Any, steps: int) -> None:
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps
    assert [step_of(scheduler, float(t)) for t in times] == list(range(steps))
    assert [step_of(scheduler, float(t / 1000), torch.float32, packed=True) for t in times] == list(range(steps))
    assert step_of(scheduler, float(times[0]) + 0.5) == -1
    assert step_of(scheduler, float("nan")) == -1


def test_repeated_timesteps_follow_the_schedulers_own_index() -> None:
    scheduler = HeunDiscreteScheduler()
    scheduler.set_timesteps(4)
    x = torch.zeros(1, 4, 2, 2)
    found = []
    for t in scheduler.timesteps:
        scheduler.scale_model_input(x, t)  # where a pipeline's loop begins, and where the scheduler sets its index
        found.append(step_of(scheduler, float(t)))
        x = scheduler.step(torch.ones_like(x), t, x).prev_sample
    assert found == list(range(len(scheduler.timesteps)))
