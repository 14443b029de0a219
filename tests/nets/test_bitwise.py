"""The pyramid of bits against the equations written out, and what a scale may see of the others."""

import math

import pytest
import torch
import torch.nn.functional as F

from diffolio.nets.bitwise import BitwiseTokenizer
from diffolio.nets.next_scale import NextScaleTransformer, block_causal
from tests.models.tiny import tiny_next_scale

SCALES = (1, 2, 4, 8)


@pytest.fixture(scope="module")
def net():
    return tiny_next_scale().autoencoder


def features(n=3, seed=0):
    return torch.randn(n, 5, 8, 8, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_pyramid_follows_its_equations_in_double_precision(net):
    f = features().double()
    bits, sums = net.quantize(features())
    total = torch.zeros_like(f)
    for k, side in enumerate(SCALES):
        block = 8 // side
        means = (f - total).unflatten(3, (side, block)).unflatten(2, (side, block)).mean((3, 5))
        assert torch.equal(bits[k], means >= 0), side
        step = net.log_steps[k].double().exp()[:, None, None]
        added = torch.where(bits[k], step, -step)
        if side < 8:
            added = F.interpolate(added, (8, 8), mode="bilinear")
        total = total + added
        assert torch.allclose(sums[k].double(), total, atol=1e-5)
    assert torch.equal(net.accumulate(bits), sums[-1]) or torch.allclose(net.accumulate(bits), sums[-1], atol=1e-6)


@torch.no_grad()
def test_later_scales_mend_flipped_bits(net):
    f = features()
    flip = [torch.zeros(3, 5, s, s, dtype=torch.bool) for s in SCALES]
    plain, sums = net.quantize(f)
    same, _ = net.quantize(f, flip)
    assert all(torch.equal(a, b) for a, b in zip(plain, same, strict=True))
    flip[0][:] = True
    bits, mended = net.quantize(f, flip)
    assert torch.equal(bits[0], plain[0]), "the label is the right bit, not the flipped one"
    assert not torch.equal(bits[1], plain[1]), "the next scale sees the mistake"
    left_alone = net.value(~plain[0], 0) + (sums[-1] - sums[0])
    assert (f - mended[-1]).square().mean() < (f - left_alone).square().mean()


def test_the_gradient_reaches_the_steps_and_passes_straight_to_the_features(net):
    f = features().requires_grad_()
    net.log_steps.requires_grad_(True)
    total = net.quantize(f)[1][-1]
    (total + f - f.detach()).square().sum().backward()
    assert torch.allclose(f.grad, 2 * total.detach()), "straight through: the gradient of the sums"
    assert (net.log_steps.grad.abs().sum(1) > 0).all()
    net.log_steps.grad = None
    net.log_steps.requires_grad_(False)


def test_a_token_sees_its_scale_and_those_before():
    bias = block_causal([1, 4, 16])
    scale = [0] + [1] * 4 + [2] * 16
    for q, row in enumerate(bias.tolist()):
        assert [value == 0 for value in row] == [scale[k] <= scale[q] for k in range(21)]
        assert set(row) <= {0.0, -math.inf}


@torch.no_grad()
def test_logits_do_not_depend_on_later_scales():
    pipeline = tiny_next_scale()
    net = pipeline.transformer
    text = pipeline.encode_prompt(["a red ball", "a blue house", "a cat"])
    _, sums = pipeline.autoencoder.quantize(features())
    every = net(sums[:-1], *text)
    assert [part.shape for part in every] == [(3, 5, s, s) for s in SCALES]
    for k in range(len(SCALES)):
        assert torch.allclose(net(sums[:k], *text)[-1], every[k], atol=1e-5)
    changed = net([sums[0], sums[1], sums[2] + 1], *text)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(changed[:3], every[:3], strict=True))
    assert not torch.allclose(changed[3], every[3], atol=1e-3)


def test_patches_share_a_token_only():
    net = NextScaleTransformer(5, SCALES, (1, 1, 1, 2), width=32, layers=1, heads=4, text_width=8, pooled_width=8)
    assert net.lengths == [1, 4, 16, 16]
    assert net.places.shape == (37, 32)


def test_saved_and_read_as_diffusers_models(tmp_path):
    pipeline = tiny_next_scale()
    pipeline.autoencoder.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    read = BitwiseTokenizer.from_pretrained(tmp_path)
    assert torch.equal(read.encode(torch.full((1, 3, 32, 32), 0.3)), pipeline.autoencoder.encode(torch.full((1, 3, 32, 32), 0.3)))
