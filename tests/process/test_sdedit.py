"""SDEdit against diffusers' own image-to-image, and between its two ends."""

from __future__ import annotations

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.process.sampling import generators, noise
from diffolio.process.sdedit import sdedit
from tests.models.tiny import tiny_model


@pytest.mark.parametrize("strength", [0.3, 0.75])
def test_equals_the_image_to_image_pipeline(strength):
    """The same noise, prompt, guidance and steps through diffusers' own pipeline."""
    from diffusers import StableDiffusionImg2ImgPipeline

    model = tiny_model("sd")
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    parts = {name: part for name, part in model.pipeline.components.items() if name != "scheduler"}
    scheduler = type(model.scheduler).from_config(model.scheduler.config)
    pipeline = StableDiffusionImg2ImgPipeline(**parts, scheduler=scheduler, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    latents = model.encode(image)
    theirs = pipeline(
        "a red fish", image=latents, strength=strength, num_inference_steps=8, guidance_scale=3.0, output_type="latent",
        generator=torch.Generator().manual_seed(7),
    ).images  # fmt: skip
    ours = sdedit(model, latents, model.condition(["a red fish"]), strength, 8, 3.0, seed=7)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_more_strength_the_further_from_the_source():
    model = tiny_model("sd")
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    condition = model.condition(["a red fish", "a tree"])
    gaps = [float((sdedit(model, latents, condition, s, 10, seed=3) - latents).square().mean()) for s in (0.1, 0.4, 0.8)]
    assert gaps[0] < gaps[1] < gaps[2]
    assert gaps[0] < 0.1 * float(latents.square().mean())


def test_a_sample_does_not_depend_on_its_batch_nor_the_scheduler_on_the_call():
    model = tiny_model("sd3")
    latents = noise((2, 16, 16, 16), generators(1, 2))
    condition = model.condition(["a red fish", "a tree"])
    before = dict(vars(model.scheduler))
    both = sdedit(model, latents, condition, 0.5, 4, seed=3)
    alone = sdedit(model, latents[1:], condition.index([1]), 0.5, 4, seed=4)
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-3)
    assert all(vars(model.scheduler)[name] is value for name, value in before.items())


def test_bad_input():
    model = tiny_model("sd")
    for strength, steps in ((0.0, 4), (1.5, 4), (0.5, 0)):
        with pytest.raises(BadInput, match="strength above 0"):
            sdedit(model, torch.zeros(1, 4, 16, 16), model.condition(["a"]), strength, steps)
