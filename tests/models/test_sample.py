"""Model.sample is the pipeline's own call, to the bit, with one seed a sample."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch

from diffolio.errors import BadInput, NotFinite, Unsupported
from diffolio.models import Model
from tests.models.tiny import TINY, tiny_model, tiny_sd

ALL = ["sd", "sd_v", "sdxl", "pixart", "sd3"]
PROMPTS = ["a red circle left of a blue star", "a green tree"]


def plain_call(pipeline: Any, prompts: list[str], seeds: list[int], **options: Any) -> torch.Tensor:
    """What a user of diffusers would write."""
    if "PixArt" in type(pipeline).__name__:
        options |= {"use_resolution_binning": False, "clean_caption": False}
    generator = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipeline(prompts, generator=generator, output_type="pt", **options).images


@pytest.mark.parametrize("which", ALL)
def test_equals_the_plain_pipeline_with_its_default_guidance(which: str) -> None:
    model = tiny_model(which)
    want = plain_call(TINY[which](), PROMPTS, [5, 6], num_inference_steps=2)
    got = model.sample(PROMPTS, seed=5, steps=2)
    assert torch.equal(got.images, want)
    assert got.images.shape == (2, 3, 128, 128)
    assert got.latents.shape == (2, model.channels, 16, 16)


@pytest.mark.parametrize("which", ALL)
def test_equals_the_plain_pipeline_with_options(which: str) -> None:
    """Another size, a negative prompt a sample, given seeds."""
    options: dict[str, Any] = {"height": 64, "width": 96, "guidance_scale": 3.0}
    want = plain_call(TINY[which](), PROMPTS, [9, 3], num_inference_steps=1, negative_prompt=["a house", "blue"], **options)
    got = tiny_model(which).sample(PROMPTS, seed=[9, 3], steps=1, negative=["a house", "blue"], **options)
    assert torch.equal(got.images, want)


@pytest.mark.parametrize("which", ["sd", "pixart", "sd3", "sdxl"])
def test_without_guidance_one_row_is_run(which: str) -> None:
    model, batches = tiny_model(which), []
    handle = model.denoiser.register_forward_pre_hook(lambda _, args, kwargs: batches.append(
        (args[0] if args else kwargs["hidden_states"]).shape[0]), with_kwargs=True)  # fmt: skip
    try:
        got = model.sample(PROMPTS, steps=1, guidance_scale=1)
    finally:
        handle.remove()
    assert batches == [2]
    assert torch.equal(got.images, plain_call(TINY[which](), PROMPTS, [0, 1], num_inference_steps=1, guidance_scale=1.0))


@pytest.mark.parametrize("which", ["sd", "pixart"])
def test_a_sample_does_not_depend_on_its_batch(which: str) -> None:
    """Its noise is the same to the bit; arithmetic in a batch differs by rounding only."""
    model = tiny_model(which)
    together = model.sample(PROMPTS, seed=5, steps=2, guidance_scale=3.0)
    alone = model.sample(PROMPTS[1], seed=6, steps=2, guidance_scale=3.0)
    torch.testing.assert_close(together.images[1:], alone.images, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together.images[0], together.images[1], atol=1e-2)
    other_seed = model.sample(PROMPTS[1], seed=7, steps=2, guidance_scale=3.0)
    assert not torch.allclose(alone.images, other_seed.images, atol=1e-2)


@pytest.mark.parametrize("which", ["sd", "sdxl", "pixart", "sd3"])
def test_a_condition_takes_the_place_of_prompts(which: str) -> None:
    model = tiny_model(which)
    want = model.sample(PROMPTS, seed=2, steps=1, guidance_scale=3.0).images
    assert torch.equal(model.sample(condition=model.condition(PROMPTS), seed=2, steps=1, guidance_scale=3.0).images, want)


def test_given_latents_are_the_start() -> None:
    model = tiny_model()
    noise = torch.cat([torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)])
    want = model.sample(PROMPTS, steps=1, height=64, width=64).images
    assert torch.equal(model.sample(PROMPTS, seed=100, steps=1, latents=noise).images, want)


@pytest.mark.parametrize("which", ["sd", "pixart", "sd3"])
def test_progress_is_told(which: str) -> None:
    told: list[tuple[int, int]] = []
    tiny_model(which).sample("a tree", steps=3, guidance_scale=1, progress=lambda done, steps: told.append((done, steps)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_sampling_can_be_ended_early() -> None:
    """An editor's latents are decoded as they are, and the model samples as before afterwards."""
    from diffolio.seams import stop

    model = tiny_model()
    before = model.sample(PROMPTS, steps=3)
    kept = []

    def after(step: int, timestep: Any, latents: torch.Tensor) -> None:
        if step == 1:
            kept.append(latents)
            stop(latents)

    with model.seams.scheduler(after=after):
        ended = model.sample(PROMPTS, steps=3)
    assert torch.equal(ended.latents, kept[0])
    assert torch.equal(ended.images, model.decode(kept[0]))
    assert torch.equal(model.sample(PROMPTS, steps=3).images, before.images)


@pytest.mark.parametrize("which", ["sd", "pixart"])
def test_seams_are_told_the_rows(which: str) -> None:
    model, seen = tiny_model(which), []
    with model.seams.denoiser(before=lambda call: seen.append((call.rows, call.guidance_scale)), name="look"):
        model.sample("a tree", steps=1, guidance_scale=2.0)
        model.sample("a tree", steps=1, guidance_scale=1.0)
        model.predict(torch.zeros(1, 4, 16, 16), 5, model.condition("a tree"), guidance_scale=4.0)
        model.predict(torch.zeros(1, 4, 16, 16), 5, model.condition("a tree"), rows=("uncond",))
    guided = ("uncond", "cond")
    assert seen == [(guided, 2.0), (("cond",), 1.0), (guided, 4.0), (("uncond",), None)]


def test_a_distilled_student_is_told_its_guidance() -> None:
    """LCM: one row and an embedding of the scale, in sampling and in predicting."""
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    teacher = tiny_sd()
    config = {key: value for key, value in teacher.unet.config.items() if not key.startswith("_")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = type(teacher.unet).from_config({**config, "time_cond_proj_dim": 8}).eval().requires_grad_(False)
    pipeline = LatentConsistencyModelPipeline(
        teacher.vae, teacher.text_encoder, teacher.tokenizer, unet, LCMScheduler.from_config(teacher.scheduler.config),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    model = Model(pipeline)
    assert torch.equal(
        model.sample(PROMPTS, seed=1, steps=2, guidance_scale=7.0).images,
        plain_call(pipeline, PROMPTS, [1, 2], num_inference_steps=2, guidance_scale=7.0),
    )
    x, condition = torch.ones(2, 4, 16, 16), model.condition(PROMPTS)
    one, seven = (model.predict(x, 500, condition, guidance_scale=scale).raw for scale in (1.0, 7.0))
    assert not torch.equal(one, seven)
    told = pipeline.get_guidance_scale_embedding(torch.tensor([6.0, 6.0]), 8)
    states = condition["cond"]["encoder_hidden_states"]
    assert torch.equal(seven, unet(x, torch.tensor([500, 500]), states, timestep_cond=told).sample)


# Bad input ----------------------------------------------------------------------------------------------------------------


def test_no_prompt() -> None:
    for prompts in ([], None):
        with pytest.raises(BadInput, match="no prompt"):
            tiny_model().sample(prompts)


def test_a_prompt_that_is_no_text() -> None:
    with pytest.raises(BadInput, match="int"):
        tiny_model().sample(["a tree", 3])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("which", "size", "need"),
    [("sd", 60, "8"), ("pixart", 72, "16"), ("sd3", 72, "16"), ("sd", 4, "8"), ("sd3", 784, "768")],
)
def test_a_size_that_does_not_fit(which: str, size: int, need: str) -> None:
    with pytest.raises(BadInput, match=need):
        tiny_model(which).sample("a tree", height=size, width=64)


def test_bad_numbers() -> None:
    model = tiny_model()
    with pytest.raises(BadInput, match="at least one step"):
        model.sample("a tree", steps=0)
    with pytest.raises(BadInput, match="finite"):
        model.sample("a tree", guidance_scale=float("nan"))
    with pytest.raises(BadInput, match="3 seeds for 1"):
        model.sample("a tree", seed=[1, 2, 3], steps=1)
    with pytest.raises(BadInput, match="2 negative prompts for 1"):
        model.sample("a tree", negative=["a", "b"], steps=1)


def test_latents_that_do_not_fit() -> None:
    model = tiny_model()
    with pytest.raises(BadInput, match=r"takes \(1, 4, h, w\)"):
        model.sample("a tree", latents=torch.zeros(2, 4, 16, 16))
    with pytest.raises(BadInput, match="128x128"):
        model.sample("a tree", latents=torch.zeros(1, 4, 16, 16), height=64)


def test_prompts_beside_another_condition() -> None:
    model = tiny_model()
    with pytest.raises(BadInput, match="one of the two"):
        model.sample("a tree", condition=model.condition("a house"))


def test_not_a_number_is_an_error() -> None:
    pipeline = copy.copy(tiny_sd())
    pipeline.unet = copy.deepcopy(pipeline.unet)
    pipeline.unet.conv_out.bias.fill_(float("nan"))
    with pytest.raises(NotFinite, match="tiny-broken"):
        Model(pipeline, name="tiny-broken").sample("a tree", steps=1)


def test_other_pipelines_are_refused_with_what_is_supported() -> None:
    from diffusers import PNDMScheduler, StableDiffusionImg2ImgPipeline
    from diffusers.pipelines import ConsistencyModelPipeline

    sd = tiny_sd()
    with pytest.raises(Unsupported, match=r"ConsistencyModelPipeline is not supported.*StableDiffusionXLPipeline"):
        Model(ConsistencyModelPipeline(sd.unet, PNDMScheduler()))
    with pytest.raises(Unsupported, match="StableDiffusionImg2ImgPipeline"):
        Model(StableDiffusionImg2ImgPipeline(**sd.components, requires_safety_checker=False))


def test_a_denoiser_that_reads_more_than_latents_is_refused() -> None:
    pipeline = copy.copy(tiny_sd())
    config = {key: value for key, value in pipeline.unet.config.items() if not key.startswith("_")}
    pipeline.unet = type(pipeline.unet).from_config({**config, "in_channels": 9})
    with pytest.raises(Unsupported, match="9 channels"):
        Model(pipeline)


def test_nothing_is_warned_of_a_prompt_that_fits() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_model().sample("a tree", steps=1, guidance_scale=1)
