"""OVAM: maps equal an independent recomputation, the picture is untouched, tokens can be learned."""

import pytest
import torch

from diffolio.errors import BadInput, BadKnob, Unsupported
from diffolio.methods.perception.ovam import OVAM, attribute, content_words
from diffolio.models import Model
from tests.models.tiny import tiny_sd, tiny_sd3, tiny_sdxl

PROMPTS = ["a red fish", "a blue house"]


def recorded(model, row="cond", steps=2, **options):
    with OVAM(row=row).on(model):
        images = model.sample(PROMPTS, steps=steps, **options).images
    return model.reports["ovam"], images


@pytest.mark.parametrize("build", [tiny_sd, tiny_sdxl])
@pytest.mark.parametrize("row", ["uncond", "cond"])
def test_maps_are_softmax_over_tokens_of_kept_queries(build, row):
    """Against the attention probabilities that the network itself computes for the prompt, where the row is the prompt's."""
    model = Model(build())
    probabilities = []

    def keep(site, p):
        if not site.path.startswith("mid_block"):
            probabilities.append((site.path, p[site.row("cond")], site.grid))

    with OVAM(row=row).on(model), model.seams.attention(probabilities=keep, where=lambda s: s.kind == "cross"):
        model.sample(PROMPTS[:1], steps=2)
    maps = model.reports["ovam"]
    states = model.condition(PROMPTS[:1]).rows["cond"]["encoder_hidden_states"][0]
    ours = maps.maps(states)  # all tokens, the padding too, as in the network
    blocks = {}
    for path, p, grid in probabilities:
        blocks.setdefault(path, []).append(p.mean(1).transpose(1, 2).unflatten(-1, grid))
    largest = max(maps.grids.values())
    theirs = torch.stack([
        torch.nn.functional.interpolate(torch.stack(steps).mean(0), largest, mode="bilinear") for steps in blocks.values()
    ]).mean(0)  # fmt: skip
    assert ours.shape == theirs.shape
    if row == "cond":
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    else:
        assert not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-6), "the unconditional row has other queries"
    torch.testing.assert_close(ours.sum(1), torch.ones_like(ours[:, 0]), rtol=1e-4, atol=1e-4)


def test_no_forward_is_run_for_a_query():
    model = Model(tiny_sd())
    maps, _ = recorded(model)
    calls = []
    handle = model.denoiser.register_forward_pre_hook(lambda *_: calls.append(1))
    for text in ("a green boat", "star", "a red fish and a mushroom"):
        assert maps.maps(text).shape[0] == 2
    handle.remove()
    assert calls == []


def test_the_picture_is_bit_identical_inside_and_after():
    model = Model(tiny_sd())
    plain = model.sample(PROMPTS, steps=2).images
    _, inside = recorded(model)
    assert torch.equal(plain, inside)
    assert torch.equal(plain, model.sample(PROMPTS, steps=2).images)
    assert OVAM().neutral() == OVAM()


def test_pictures_that_are_not_square():
    model = Model(tiny_sd())
    maps, _ = recorded(model, height=64, width=192)
    assert maps.maps("a red fish").shape[-2:] == (8, 24)
    assert maps.word("fish", "a red fish", size=(64, 192)).shape == (2, 64, 192)


def test_a_second_picture_starts_anew():
    model = Model(tiny_sd())
    with OVAM().on(model):
        model.sample(PROMPTS[:1], steps=3)
        model.sample(PROMPTS[:1], steps=2)
    assert {len(steps) for steps in model.reports["ovam"].queries.values()} == {2}


def test_both_rows_are_the_mean_of_each():
    model = Model(tiny_sd())
    parts = [recorded(model, row)[0].maps("a red fish") for row in ("uncond", "cond", "both")]
    torch.testing.assert_close(parts[2], (parts[0] + parts[1]) / 2, rtol=1e-4, atol=1e-5)


def test_a_learned_token_lowers_the_loss_and_moves_no_weight():
    model = Model(tiny_sd())
    maps, _ = recorded(model)
    before = {k: v.clone() for k, v in model.denoiser.state_dict().items()}
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[:, 8:20, 10:24] = True
    target = torch.stack([~mask, mask], 1).float()

    def loss(token):
        return torch.nn.functional.cross_entropy(maps.maps(token, (32, 32)), target).item()

    states = maps.encode("fish")
    token = maps.fit_token(mask, "fish", steps=40)
    assert token.shape == (2, 32)
    assert loss(token) < loss(torch.stack([states[0], states[1]]))
    assert all(torch.equal(v, before[k]) for k, v in model.denoiser.state_dict().items())
    assert all(p.grad is None for p in model.denoiser.parameters())
    found = maps.mask(token, size=(32, 32))
    assert found.dtype == torch.bool
    assert found.shape == mask.shape


def test_refined_masks_follow_the_picture():
    model = Model(tiny_sd())
    maps, images = recorded(model)
    assert maps.mask("fish", "a red fish", size=(128, 128), refine=images).shape == (2, 128, 128)


def test_given_pictures_can_be_read_too():
    model = Model(tiny_sd())
    maps = attribute(model, torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)))
    assert maps.maps("a red fish").shape == (2, 5, 16, 16)


def test_words_to_show():
    assert content_words("a red fish above a blue house") == ["fish", "house"]
    assert content_words("a photograph of her")[0] == "photograph"


def test_bad_input():
    model = Model(tiny_sd())
    with OVAM().on(model), pytest.raises(BadInput, match="no step yet"):
        model.reports["ovam"].maps("a fish")
    maps, _ = recorded(model)
    with pytest.raises(BadInput, match="empty"):
        maps.maps("  ")
    with pytest.raises(BadInput, match="tokens"):
        maps.maps("red " * 60)
    with pytest.raises(BadInput, match="width"):
        maps.maps(torch.zeros(2, 7))
    with pytest.raises(BadInput, match="bool"):
        maps.fit_token(torch.zeros(2, 8, 8), "fish")
    with pytest.raises(BadKnob, match="uncond, cond, both"):
        OVAM(row="left")
    with pytest.raises(Unsupported), OVAM().on(Model(tiny_sd3())):
        pass
