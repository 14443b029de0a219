"""Models of tokens: loaded by from_pretrained of the true class, drawn by seed, and refused where they have no meaning."""

import pytest
import torch

from diffolio import models
from diffolio.errors import BadInput, Unsupported
from diffolio.models import Model
from tests.models.tiny import tiny_amused, tiny_next_scale, tiny_sd

PROMPTS = ["a red ball", "a blue house"]
BUILDERS = {"masked": tiny_amused, "next_scale": tiny_next_scale}


@pytest.fixture(params=list(BUILDERS))
def model(request):
    return Model(BUILDERS[request.param]())


def test_a_sample_does_not_depend_on_its_batch(model):
    both = model.sample(PROMPTS, seed=3, steps=3, guidance_scale=2.0)
    assert both.images.shape == (2, 3, 32, 32) and both.images.min() >= 0 and both.images.max() <= 1
    one = model.sample(PROMPTS[1], seed=4, steps=3, guidance_scale=2.0)
    assert torch.allclose(one.images[0], both.images[1], atol=1e-5)
    assert not torch.allclose(model.sample(PROMPTS, seed=9, steps=3).images, both.images, atol=1e-3)


def test_steps_are_told(model):
    told = []
    model.sample("a red ball", steps=3, progress=lambda done, steps: told.append((done, steps)))
    n = 3 if model.architecture == "masked" else 4
    assert told == [(i + 1, n) for i in range(n)]


def test_pictures_go_through_tokens(model):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    latents = model.encode(images)
    again = model.decode(latents)
    assert again.shape == images.shape and again.min() >= 0 and again.max() <= 1
    if model.architecture == "masked":
        assert latents.shape == (2, 8, 8) and latents.dtype == torch.int64
        vectors = model.pipeline.vqvae.encode(images).latents.movedim(1, -1).flatten(0, 2)
        book = model.pipeline.vqvae.quantize.embedding.weight
        nearest = (vectors[:, None] - book[None]).square().sum(-1).argmin(1)
        assert torch.equal(latents.flatten(), nearest)
    else:
        assert latents.shape == (2, 5, 8, 8)
        assert model.default_size == 32


def test_there_is_nothing_to_predict(model):
    condition = model.condition(PROMPTS)
    with pytest.raises(Unsupported, match="logits"):
        model.predict(torch.zeros(2, model.channels, 8, 8), 10, condition)
    with pytest.raises(Unsupported, match="logits"):
        _ = model.prediction
    with pytest.raises(BadInput, match="leave them out"):
        model.sample(PROMPTS, latents=torch.zeros(2, model.channels, 8, 8))


def test_only_its_own_size(model):
    with pytest.raises(BadInput, match="multiples of 32"):
        model.sample("a red ball", height=48, width=32)
    with pytest.raises(BadInput, match="longest side"):
        model.sample("a red ball", height=64, width=64)


def test_pictures_of_another_size_do_not_fit_the_scales():
    with pytest.raises(BadInput, match="48x48.*32x32"):
        Model(tiny_next_scale()).encode(torch.rand(1, 3, 48, 48))


def test_ids_outside_the_codebook_are_refused():
    with pytest.raises(BadInput, match="0 to 23"):
        Model(tiny_amused()).decode(torch.full((1, 8, 8), 24))


@pytest.mark.parametrize("which", list(BUILDERS))
def test_saved_folders_load(which, tmp_path):
    pipeline = BUILDERS[which]()
    pipeline.save_pretrained(tmp_path, safe_serialization=True)
    assert not list(tmp_path.rglob("*.bin"))
    true_class = type(pipeline).from_pretrained(tmp_path)
    model = models.load(str(tmp_path))
    assert type(model.pipeline) is type(true_class) and which in model.kinds
    first, second = (Model(p).sample(PROMPTS, seed=1, steps=2).images for p in (pipeline, true_class))
    assert torch.equal(first, second)


def test_the_true_pipeline_draws_by_itself(tmp_path):
    amused = tiny_amused()
    drawn = amused("a red ball", num_inference_steps=2, output_type="np", generator=torch.Generator().manual_seed(0)).images
    assert drawn.shape == (1, 32, 32, 3)
    ours = tiny_next_scale()("a red ball", output_type="np", generator=torch.Generator().manual_seed(0)).images
    assert ours.shape == (1, 32, 32, 3)


def test_the_loop_equals_the_pipelines_for_one_picture():
    amused = tiny_amused()
    theirs = amused(
        "a red ball", num_inference_steps=3, guidance_scale=2.0, output_type="latent", generator=torch.Generator().manual_seed(5)
    ).images
    assert torch.equal(Model(amused).sample("a red ball", seed=5, steps=3, guidance_scale=2.0).latents, theirs)


def test_other_models_are_as_before():
    assert Model(tiny_sd()).prediction == "epsilon" and Model(tiny_sd()).default_size == 128
