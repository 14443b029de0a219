"""Edit scores: backgrounds by hand, structure that ignores what it should, and a reader that sees the colour."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.metrics import Judge, ssim
from diffolio.metrics.edit import background, change_mask, judge_keys, latent_tokens, recoloured, structure_distance
from diffolio.worlds.tabletop import Scene, Thing, render
from tests.models.tiny import tiny_model


@pytest.fixture(scope="module")
def pair():
    scene = Scene((Thing("circle", "red", 0.3, 0.5, 0.35), Thing("square", "blue", 0.72, 0.5, 0.3)))
    return render([scene], 64).images, render([scene.change(0, colour="green")], 64).images


@pytest.fixture(scope="module")
def judge():
    from diffolio.miniatures.clip import MiniCLIP

    made = MiniCLIP("b")
    return Judge(made.clip, made.tokenizer)


def test_the_change_mask_is_the_thing_and_nothing_else(pair):
    source, twin = pair
    mask = change_mask(source, twin)
    assert mask.shape == (1, 64, 64)
    assert 250 < mask.sum() < 500
    assert mask[0, 32, 19]
    assert not mask[0, :, 40:].any(), "the other thing stays"
    assert torch.equal(torch.where(mask[:, None], 0.0, source), torch.where(mask[:, None], 0.0, twin))


def test_background_scores_see_the_outside_only(pair):
    source, twin = pair
    mask = change_mask(source, twin)
    perfect = background(twin, source, mask)
    assert perfect["mse"].item() == 0
    assert perfect["psnr"].item() == pytest.approx(100)
    assert perfect["ssim"].item() == pytest.approx(1)
    worse = twin.clone()
    worse[:, :, :4] = 0.5
    expected = ((worse - source)[0].square().mean(0) * ~mask[0]).sum() / (~mask).sum()
    found = background(worse, source, mask)
    torch.testing.assert_close(found["mse"][0], expected)
    torch.testing.assert_close(found["psnr"][0], -10 * expected.log10())
    torch.testing.assert_close(found["ssim"], ssim(worse * ~mask[:, None], source * ~mask[:, None]))
    assert found["ssim"] < 1


def test_structure_distance_by_its_definition(pair):
    features = {0: torch.randn(1, 6, 4).double(), 1: torch.randn(1, 6, 4).double()}
    calls = iter((0, 1))
    found = structure_distance(*pair, lambda images: features[next(calls)])
    a, b = (torch.corrcoef(torch.cat([x[0], -x[0]], 1)) for x in (features[0], features[1]))  # centred, so correlation is cosine
    torch.testing.assert_close(found.double(), (a - b).square().mean()[None], atol=1e-6, rtol=1e-5)


def test_structure_with_a_judge_and_with_latents(pair, judge):
    source = pair[0]
    keys = judge_keys(judge)
    assert keys(source).shape == (1, 65, 96)
    moved = source.roll(20, -1)
    for tokens in (keys, latent_tokens(tiny_model("sd"))):
        assert structure_distance(source, source, tokens).item() == 0
        assert structure_distance(moved, source, tokens).item() > 0
    assert not judge.model.vision_model.encoder.layers[-1].self_attn.k_proj._forward_hooks


def test_the_reader_tells_a_recoloured_thing(pair):
    source, twin = pair
    mask = change_mask(source, twin)
    pictures = torch.cat([twin, source, twin, torch.full_like(twin, 0.95)])
    assert recoloured(pictures, mask.expand(4, -1, -1), ["green", "green", "red", "green"]).tolist() == [1, 0, 0, 0]


def test_refusals(pair):
    source, twin = pair
    with pytest.raises(BadInput, match="mask of type"):
        background(twin, source, torch.zeros(1, 64, 64))
    with pytest.raises(BadInput, match="whole picture"):
        background(twin, source, torch.ones(1, 64, 64, dtype=torch.bool))
    with pytest.raises(BadInput, match="equal shapes"):
        structure_distance(source, twin[..., :32], lambda x: x.flatten(2))
    with pytest.raises(BadInput, match="as many of each"):
        recoloured(source, change_mask(source, twin), [])
