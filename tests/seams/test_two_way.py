"""Guidance by a picture and a text: the formula, its reduction to plain guidance, and what the three rows see."""

import copy

import pytest
import torch

from diffolio.errors import BadInput, Conflict
from diffolio.models import Model
from diffolio.nets.widening import widening
from diffolio.process import combine, combine_two
from diffolio.seams.two_way import beside, two_way
from tests.models.tiny import tiny_sd


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


NOISE = rand(1, 4, 16, 16, seed=7)


@pytest.fixture(scope="module")
def model():
    made = Model(copy.deepcopy(tiny_sd()), name="tiny")
    with widening(made.denoiser, (1, 0.7)):
        yield made


def test_the_formula():
    none, image, both = (rand(2, 3, 2, 2, seed=s, dtype=torch.float64) for s in range(3))
    made = combine_two(none, image, both, 1.5, torch.tensor([7.5, 2.0]))
    torch.testing.assert_close(made[0], none[0] + 1.5 * (image[0] - none[0]) + 7.5 * (both[0] - image[0]))
    torch.testing.assert_close(made[1], none[1] + 1.5 * (image[1] - none[1]) + 2.0 * (both[1] - image[1]))
    torch.testing.assert_close(combine_two(none, image, both, 1.0, 7.5), combine(image, both, 7.5))
    torch.testing.assert_close(combine_two(none, image, both, 0.0, 0.0), none)


def test_a_run_follows_the_three_forwards(model):
    """One guided prediction inside the seam against three forwards of the network made by hand."""
    z, source = rand(2, 4, 16, 16), rand(2, 4, 16, 16, seed=1)
    condition = model.condition(["a red circle", "a blue square"])
    text, null = (condition[row]["encoder_hidden_states"] for row in ("cond", "uncond"))
    with torch.no_grad():
        none, image, both = (
            model.denoiser(torch.cat([z, s], 1), 500, c).sample
            for s, c in ((torch.zeros_like(source), null), (source, null), (source, text))
        )
        with two_way(model.seams, source, 1.4, 5.0):
            guided = model.predict(z, 500, condition, guidance_scale=3.0)  # the pipeline's own scale does not matter
    torch.testing.assert_close(guided.raw, combine_two(none, image, both, 1.4, 5.0), rtol=1e-4, atol=1e-5)


def test_image_scale_one_is_plain_guidance_with_the_source_beside_it(model):
    source = rand(1, 4, 16, 16, seed=1)
    with beside(model.seams, source):
        plain = model.sample("a red circle", latents=NOISE, steps=3, guidance_scale=4.0)
    with two_way(model.seams, source, 1.0, 4.0):
        two = model.sample("a red circle", latents=NOISE, steps=3, guidance_scale=2.0)
    with two_way(model.seams, source, 2.0, 4.0):
        more = model.sample("a red circle", latents=NOISE, steps=3, guidance_scale=2.0)
    torch.testing.assert_close(two.latents, plain.latents, rtol=1e-3, atol=1e-4)
    assert (more.latents - plain.latents).abs().max() > 1e-2


def test_gradients_reach_the_source(model):
    source = rand(1, 4, 16, 16, seed=1).requires_grad_(True)
    with beside(model.seams, source):
        model.predict(rand(1, 4, 16, 16), 500, model.condition("a red circle")).raw.square().sum().backward()
    assert source.grad.abs().max() > 0


def test_refusals(model):
    source = rand(1, 4, 16, 16, seed=1)
    with two_way(model.seams, source), pytest.raises(BadInput, match="guidance_scale > 1"):
        model.sample("a red circle", latents=NOISE, steps=1, guidance_scale=1.0)
    with two_way(model.seams, rand(1, 4, 8, 8)), pytest.raises(BadInput, match="same size"):
        model.sample("a red circle", latents=NOISE, steps=1)
    with two_way(model.seams, source), pytest.raises(Conflict, match="two-way"):
        with two_way(model.seams, source):
            pass
