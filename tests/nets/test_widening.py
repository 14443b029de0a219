"""Widened networks: equal to their base with zero columns, the mean of their parts with halved copies, and back again."""

import copy

import pytest
import torch

from diffolio.errors import BadInput, Unsupported
from diffolio.nets.widening import widen, widened_input, widened_output, widening
from tests.models.tiny import WIDTH, tiny_sd
from tests.models.video import tiny_unet3d


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def of(which):
    """A float64 copy of a tiny true UNet and inputs for it."""
    unet, shape = (tiny_sd().unet, (2, 4, 8, 8)) if which == "2d" else (tiny_unet3d(), (2, 4, 3, 8, 8))
    return copy.deepcopy(unet).double(), rand(*shape).double(), rand(*shape, seed=1).double(), rand(2, 5, WIDTH, seed=2).double()


@pytest.mark.parametrize("which", ["2d", "3d"])
def test_zero_columns_give_the_base_for_any_extra_input(which):
    unet, z, extra, text = of(which)
    with torch.no_grad():
        base = unet(z, 500, text).sample
        widen(unet, (1, 0), (1, 0))
        assert (unet.config.in_channels, unet.config.out_channels) == (8, 8)
        for other in (extra, 1e3 * extra):
            made = unet(torch.cat([z, other], dim=1), 500, text).sample
            torch.testing.assert_close(made[:, :4], base, rtol=1e-12, atol=1e-12)
            assert not made[:, 4:].any()


def test_halved_copies_read_the_mean_and_give_it_twice():
    unet, z, extra, text = of("2d")
    with torch.no_grad():
        base = unet((z + extra) / 2, 500, text).sample
        widen(unet, (0.5, 0.5), (1, 1))
        made = unet(torch.cat([z, extra], dim=1), 500, text).sample
    torch.testing.assert_close(made, torch.cat([base, base], dim=1), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("which", ["2d", "3d"])
def test_undone_bit_for_bit_also_by_an_exception(which):
    unet, z, _, text = of(which)
    layers, config = (unet.conv_in, unet.conv_out), dict(unet.config)
    with torch.no_grad():
        base = unet(z, 500, text).sample
        with pytest.raises(RuntimeError, match="stop"), widening(unet, (1, 1), (1, 1)) as widened:  # noqa: PT012
            widened.conv_in.weight.add_(1.0)  # trained meanwhile
            raise RuntimeError("stop")
        assert (unet.conv_in, unet.conv_out) == layers
        assert dict(unet.config) == config
        assert torch.equal(unet(z, 500, text).sample, base)
    widened.undo()
    assert unet.conv_in is layers[0]


def test_only_the_inputs_of_an_instruct_model():
    unet, *_ = of("2d")
    out = unet.conv_out
    widen(unet, (1, 0))
    assert (unet.config.in_channels, unet.config.out_channels) == (8, 4)
    assert unet.conv_out is out


def test_saved_and_loaded_as_an_ordinary_unet(tmp_path):
    unet, z, extra, text = of("2d")
    widen(unet, (1, 0.5), (1, 1))
    unet.save_pretrained(tmp_path)
    loaded = type(unet).from_pretrained(tmp_path, torch_dtype=torch.float64)
    with torch.no_grad():
        both = torch.cat([z, extra], dim=1)
        torch.testing.assert_close(loaded(both, 10, text).sample, unet(both, 10, text).sample)
    assert torch.equal(loaded.conv_in.weight, unet.conv_in.weight)
    assert torch.equal(loaded.conv_out.bias, unet.conv_out.bias)


def test_layers_keep_padding_bias_and_whether_they_train():
    layer = torch.nn.Conv3d(2, 5, (3, 1, 1), padding=(1, 0, 0), padding_mode="circular")
    layer.bias.requires_grad_(False)
    wide_in, wide_out = widened_input(layer, (1, 0, 2)), widened_output(layer, (1, -1))
    assert wide_in.padding_mode == "circular" and wide_in.weight.requires_grad and not wide_in.bias.requires_grad
    x = rand(1, 2, 4, 3, 3)
    with torch.no_grad():
        torch.testing.assert_close(wide_in(torch.cat([x, x, x], 1)), 3 * layer(x) - 2 * layer.bias.reshape(1, -1, 1, 1, 1))
        torch.testing.assert_close(wide_out(x), torch.cat([layer(x), -layer(x)], 1))


def test_what_cannot_be_widened_is_refused():
    unet, *_ = of("2d")
    with pytest.raises(BadInput, match="finite number"):
        widen(unet, (1, float("nan")))
    with pytest.raises(BadInput, match="modality"):
        widen(unet, ())
    with pytest.raises(Unsupported, match="no conv_in"):
        widen(torch.nn.Linear(2, 2), (1, 0))
    from peft import LoraConfig

    unet.add_adapter(LoraConfig(target_modules=["conv_in"]))
    with pytest.raises(Unsupported, match="before LoRA"):
        widen(unet, (1, 0))
