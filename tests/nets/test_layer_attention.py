"""Layers that know of each other: the attention against a plain reference, what zero weights do, and what is a set and what is not."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.nets.layer_attention import InterLayerAttention, LayerEmbedding, PromptEnhancer


def opened(module, seed=0):
    """The module in float64, its zero weights no longer zero."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def drawn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference(module, x, text, grid):
    """One query at a time."""
    batch, layers, places, width = x.shape
    d, half = width // module.heads, module.window // 2
    normed, out = module.norm(x), torch.zeros_like(x)
    q, k, v = (to(normed) for to in (module.to_q, module.to_k, module.to_v))
    tk, tv = module.text_k(text), module.text_v(text)
    for b in range(batch):
        for p in range(places):
            row, column = divmod(p, grid[1])
            near = [
                min(max(row + i, 0), grid[0] - 1) * grid[1] + min(max(column + j, 0), grid[1] - 1)
                for i in range(-half, half + 1) for j in range(-half, half + 1)
            ]  # fmt: skip
            keys = torch.cat([k[b, :, near].flatten(0, 1), tk[b]])
            values = torch.cat([v[b, :, near].flatten(0, 1), tv[b]])
            for i in range(layers):
                for h in range(module.heads):
                    part = slice(h * d, (h + 1) * d)
                    weights = (keys[:, part] @ q[b, i, p, part] / d**0.5).softmax(0)
                    out[b, i, p, part] = weights @ values[:, part]
    return module.to_out(out)


@pytest.mark.parametrize("window", [1, 3])
def test_attention_between_layers_equals_a_plain_reference(window):
    module = opened(InterLayerAttention(8, 2, 5, window))
    x, text = drawn(2, 3, 6, 8), drawn(2, 4, 5, seed=2)
    torch.testing.assert_close(module(x, text, (2, 3)), reference(module, x, text, (2, 3)))


def test_layers_are_a_set_and_see_each_other_at_the_same_place_only():
    module = opened(InterLayerAttention(8, 2, 5))
    x, text, order = drawn(1, 3, 6, 8), drawn(1, 4, 5, seed=2), [2, 0, 1]
    torch.testing.assert_close(module(x[:, order], text), module(x, text)[:, order])
    changed = x.clone()
    changed[:, 2, 4] += drawn(8, seed=3)
    difference = (module(changed, text) - module(x, text)).abs().amax((0, 3))
    assert (difference[:, 4] > 1e-4).all() and not difference[:, :4].any()


def test_everything_is_a_no_op_before_training():
    x, text = torch.randn(2, 3, 6, 8), torch.randn(2, 4, 8)
    assert not InterLayerAttention(8, 2, 8)(x, text).any()
    assert torch.equal(PromptEnhancer(8)(x, text), x)
    assert not LayerEmbedding(3, 8)(3).any()


def test_enhanced_prompts_equal_a_plain_reference():
    module = opened(PromptEnhancer(8, 2))
    layer, whole = drawn(2, 3, 4, 8), drawn(2, 5, 8, seed=2)
    for b in range(2):
        q, k, v = (
            module.to_q(module.norm(layer[b])),
            module.to_k(module.global_norm(whole[b])),
            module.to_v(module.global_norm(whole[b])),
        )
        heads = [(q[..., p] @ k[:, p].T / 2).softmax(-1) @ v[:, p] for p in (slice(0, 4), slice(4, 8))]
        torch.testing.assert_close(module(layer, whole)[b], layer[b] + module.to_out(torch.cat(heads, -1)))


def test_the_background_is_the_first_layer():
    module = opened(LayerEmbedding(3, 8))
    found = module(3)
    torch.testing.assert_close(found[0], module.index.weight[0] + module.background)
    torch.testing.assert_close(found[1:], module.index.weight[1:])


def test_refused():
    with pytest.raises(BadInput, match="odd window"):
        InterLayerAttention(8, 2, 8, window=2)
    with pytest.raises(BadInput, match="odd window"):
        InterLayerAttention(9, 2, 8)
    with pytest.raises(BadInput, match="where they stand"):
        InterLayerAttention(8, 2, 8, window=3)(torch.randn(1, 2, 6, 8))
    with pytest.raises(BadInput, match="knows 3"):
        LayerEmbedding(3, 8)(4)
