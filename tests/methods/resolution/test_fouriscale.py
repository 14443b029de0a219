"""FouriScale: the mask, the dilated convolution, three rows, and the plain model afterwards."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from diffolio.errors import BadKnob, Conflict, Unsupported
from diffolio.methods.resolution.fouriscale import FouriScale, dilated_convolution, lowpass, lowpass_mask, structure_convolutions
from diffolio.models import Model
from diffolio.results import Job
from tests.models.tiny import tiny_pixart, tiny_sd, tiny_sdxl

PROMPTS = ["a red fish"]


@pytest.mark.parametrize("n", [16, 32, 48])
@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("value", [0.0, 0.6])
@pytest.mark.parametrize("weak", [False, True])
def test_mask_is_the_formula_at_every_distance(n, scale, value, weak):
    mask = lowpass_mask(n, scale, weak=weak, value=value).double()
    ramp = (scale - 1) * n // (2 * scale) if weak else max(n // 8, 1)
    for position in range(n):
        distance = abs(position - n // 2)
        wanted = 1.0 if scale == 1 else min(max((1 - value) / ramp * (n / (2 * scale) + 1 - distance) + 1, value), 1.0)
        assert mask[position].item() == pytest.approx(wanted, abs=1e-6)


def test_the_weak_mask_is_gentler():
    strong, weak = lowpass_mask(64, 2.0), lowpass_mask(64, 2.0, weak=True)
    assert (weak >= strong).all()
    assert weak.sum() > strong.sum()


def test_lowpass_passes_constants_and_stops_the_finest_pattern():
    masks = (lowpass_mask(16, 2.0)[:, None] * lowpass_mask(16, 2.0)[None])[None, None]
    constant = torch.full((1, 2, 16, 16), 3.0)
    torch.testing.assert_close(lowpass(constant, masks, (16, 16)), constant)
    checks = ((torch.arange(16)[:, None] + torch.arange(16)[None]) % 2 * 2 - 1).float()[None, None]
    assert lowpass(checks, masks, (16, 16)).abs().max() < 1e-5


def test_padding_keeps_odd_shapes():
    masks = (lowpass_mask(16, 2.0)[:, None] * lowpass_mask(32, 2.0)[None])[None, None]
    assert lowpass(torch.randn(2, 3, 11, 29), masks, (16, 32)).shape == (2, 3, 11, 29)


@pytest.mark.parametrize("r", [2, 3])
def test_a_dilated_kernel_is_the_plain_one_on_every_subgrid(r):
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 5, 3, padding=1), torch.randn(1, 3, 4 * r, 6 * r)
    dilated = dilated_convolution(x, layer, r)
    for dy in range(r):
        for dx in range(r):
            torch.testing.assert_close(dilated[..., dy::r, dx::r], layer(x[..., dy::r, dx::r]), rtol=1e-4, atol=1e-5)


def test_a_strided_layer_keeps_its_output_size():
    layer, x = nn.Conv2d(3, 5, 3, stride=2, padding=1), torch.randn(1, 3, 12, 20)
    assert dilated_convolution(x, layer, 2).shape == layer(x).shape


def test_dilation_falls_between_start_and_stop():
    method = FouriScale(start=0.2, stop=0.6)
    values = [method.dilation(2, i, 50) for i in range(50)]
    assert values[:11] == [2.0] * 11
    assert values[20] == pytest.approx(1.5)
    assert values[30:] == [1.0] * 20
    assert all(a >= b for a, b in pairwise(values))


def test_layers_are_the_authors_for_sd_and_sdxl():
    sd = set(structure_convolutions(tiny_sd().unet))
    resnets = lambda block, n: {f"{block}.resnets.{i}.conv{j}" for i in range(n) for j in (1, 2)}  # noqa: E731
    wanted = (
        resnets("down_blocks.2", 2)
        | resnets("down_blocks.3", 2)
        | resnets("mid_block", 2)
        | {"down_blocks.2.downsamplers.0.conv"}
    )
    for i in range(3):
        wanted |= resnets(f"up_blocks.{i}", 3) | {f"up_blocks.{i}.upsamplers.0.conv"}
    assert sd == wanted
    sdxl = set(structure_convolutions(tiny_sdxl().unet))
    wanted = resnets("down_blocks.2", 2) | resnets("mid_block", 2) | resnets("up_blocks.0", 3) | resnets("up_blocks.1", 3)
    assert sdxl == wanted | {"up_blocks.0.upsamplers.0.conv"}


@pytest.mark.parametrize("build", [tiny_sd, tiny_sdxl])
def test_it_acts_above_the_trained_size_and_comes_off(build):
    model = Model(build())
    plain = model.sample(PROMPTS, steps=4, height=256, width=256).images
    with FouriScale(start=0.25, stop=0.75).on(model):
        changed = model.sample(PROMPTS, steps=4, height=256, width=256).images
    assert changed.isfinite().all()
    assert not torch.allclose(plain, changed)
    assert torch.equal(plain, model.sample(PROMPTS, steps=4, height=256, width=256).images)


def test_rows_and_attention_of_the_weak_row():
    """Three rows while dilated, two afterwards; the weak row attends with the strong row's queries and keys."""
    model, seen, rows = Model(tiny_sd()), [], []

    def look(site, q, k, v):
        if "weak" in site.rows:
            weak, cond = site.row("weak"), site.row("cond")
            seen.append(torch.equal(q[weak], q[cond]) and torch.equal(k[weak], k[cond]) and not torch.equal(v[weak], v[cond]))

    with FouriScale(start=0.5, stop=0.5).on(model), model.seams.attention(qkv=look, where=lambda s: s.kind == "self"):
        with model.seams.denoiser(before=lambda call: rows.append(call.rows)):
            model.sample(PROMPTS, steps=4, height=192, width=256)
    assert rows == [("uncond", "cond", "weak")] * 2 + [("uncond", "cond")] * 2
    deep = seen[len(seen) // 2 - 4 : len(seen) // 2]  # past the first dilated layer the rows differ
    assert all(deep)


def test_within_the_trained_size_nothing_changes_and_it_says_so():
    model = Model(tiny_sd())
    plain = model.sample(PROMPTS, steps=2).images
    with FouriScale().on(model), pytest.warns(UserWarning, match="nothing changes"):
        assert torch.equal(plain, model.sample(PROMPTS, steps=2).images)


def test_a_run_without_a_size_is_larger_than_the_trained_one():
    model = Model(tiny_sd())
    shown = FouriScale().run(Job(model, ["a red fish"], steps=1))
    side = 2 * model.default_size
    assert shown.images["fouriscale"].shape[-2:] == (side, side) and shown.numbers["rms_difference"] > 0
    asked = FouriScale().run(Job(model, ["a red fish"], steps=1, height=model.default_size))
    assert asked.report["size"] == f"{model.default_size}x{model.default_size}"


def test_neutral_is_bit_identical_at_any_size():
    model = Model(tiny_sd())
    plain = model.sample(PROMPTS, steps=2, height=256, width=128).images
    with FouriScale().neutral().on(model):
        assert torch.equal(plain, model.sample(PROMPTS, steps=2, height=256, width=128).images)


def test_odd_aspect_and_no_guidance():
    model = Model(tiny_sd())
    with FouriScale().on(model):
        assert model.sample(PROMPTS, steps=2, height=320, width=192).images.isfinite().all()
        assert model.sample(PROMPTS, steps=2, height=256, width=256, guidance_scale=1.0).images.isfinite().all()


def test_the_weak_row_may_have_a_smaller_dilation():
    model = Model(tiny_sdxl())
    images = []
    for weak in (1.0, 1.5):
        with FouriScale(weak_dilation=weak).on(model):
            images.append(model.sample(PROMPTS, steps=2, height=384, width=384).images)
    assert not torch.equal(*images)


def test_restored_after_an_exception_in_the_middle():
    model = Model(tiny_sd())
    plain = model.sample(PROMPTS, steps=2, height=256, width=256).images
    calls = iter(range(100))

    def fail(site, x):
        if next(calls) > 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), FouriScale().on(model), model.seams.inputs(fail, "mid_block"):
        model.sample(PROMPTS, steps=20, height=256, width=256)
    assert torch.equal(plain, model.sample(PROMPTS, steps=2, height=256, width=256).images)


def test_bad_input():
    with pytest.raises(BadKnob, match="start <= stop"):
        FouriScale(start=0.7, stop=0.3)
    with pytest.raises(Unsupported, match="PixArt"), FouriScale().on(Model(tiny_pixart())):
        pass
    model = Model(tiny_sd())
    with pytest.raises(Conflict, match="convolutions"), FouriScale().on(model), FouriScale().on(model):
        pass
    assert math.isclose(lowpass_mask(8, 1.0).sum(), 8)
