from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from diffolio.errors import BadInput, UnknownName
from diffolio.seams import FeatureTap, Site
from tests.seams.conftest import Network, Networks

MID = "mid_block.attentions.0"


def test_outputs_are_edited_and_restored(each: Network) -> None:
    inputs = each.inputs(samples=2)
    plain = each(inputs)
    path = next(place.path for place in each.seams.sites())
    sites: list[Site] = []
    with each.seams.features(lambda site, x: sites.append(site), path):
        assert torch.equal(each(inputs), plain)
    with each.seams.features(lambda site, x: x + 1, path):
        assert not torch.allclose(each(inputs), plain, atol=1e-4)
    assert sites[0].path == path
    assert sites[0].step == 3
    assert sites[0].samples == 2
    assert each.untouched()
    assert torch.equal(each(inputs), plain)


def test_tuple_outputs_change_their_first_tensor(sd: Network) -> None:
    inputs = sd.inputs(16, 24)
    grids = []

    def zero(site: Site, x: Tensor) -> Tensor:
        grids.append((site.grid, tuple(x.shape[2:])))
        return x * 0

    with sd.seams.features(zero, "down_blocks.0"):
        sd(inputs)
    assert grids == [((8, 12), (8, 12))]


def test_inputs_and_arguments(sd: Network) -> None:
    inputs = sd.inputs()
    plain = sd(inputs)
    names: list[set[str]] = []

    def shift(site: Site, named: dict[str, Any]) -> dict[str, Any]:
        names.append({name for name, value in named.items() if value is not None})
        return {"encoder_hidden_states": named["encoder_hidden_states"].flip(0)}

    with sd.seams.arguments(shift, "*.attn2"):
        swapped = sd(inputs)
    text = inputs["encoder_hidden_states"].flip(0)
    assert torch.allclose(swapped, sd({**inputs, "encoder_hidden_states": text}), atol=1e-5)
    assert names[0] >= {"hidden_states", "encoder_hidden_states"}
    with sd.seams.inputs(lambda site, x: x * 2, "conv_out"), sd.seams.inputs(lambda site, x: x / 2, "conv_out"):
        assert torch.allclose(sd(inputs), plain, atol=1e-6)


def test_around_saves_the_work_and_nests(sd: Network) -> None:
    inputs = sd.inputs()
    plain = sd(inputs)
    trace: list[str] = []

    def named(name: str) -> Any:
        def stand_in(site: Site, forward: Any, *args: Any, **kwargs: Any) -> Any:
            trace.append(name)
            return forward(*args, **kwargs)

        return stand_in

    def skip(site: Site, forward: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return torch.zeros_like(hidden_states)

    with sd.seams.around(named("inner"), "*.attn1"), sd.seams.around(named("outer"), "mid_block*attn1"):
        assert torch.equal(sd(inputs), plain)
    assert trace.index("outer") + 1 == trace.index("inner", trace.index("outer"))
    with sd.seams.around(skip, "*.attn1"), sd.seams.attention(qkv=lambda site, q, k, v: None):
        skipped = sd(inputs)
    with sd.seams.features(lambda site, x: x * 0, "*.attn1"):
        assert torch.allclose(sd(inputs), skipped, atol=1e-6)
    assert sd.untouched()


def test_around_gives_back_somebody_elses_wrapper(sd: Network) -> None:
    module = dict(sd.denoiser.named_modules())[MID]
    original = module.forward
    foreign = lambda *args, **kwargs: original(*args, **kwargs)  # noqa: E731
    module.forward = foreign
    with sd.seams.around(lambda site, forward, *a, **k: forward(*a, **k), MID):
        sd(sd.inputs())
    assert module.forward is foreign
    del module.forward
    assert sd.untouched()


def test_exception_in_an_editor_restores(sd: Network) -> None:
    inputs = sd.inputs()
    plain = sd(inputs)

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("stop here")

    for seam in (sd.seams.features(fail, MID), sd.seams.inputs(fail, MID), sd.seams.around(fail, MID)):
        with pytest.raises(RuntimeError, match="stop here"), seam:
            sd(inputs)
        assert sd.untouched()
    assert torch.equal(sd(inputs), plain)


def test_tap_keeps_rows(network: Networks) -> None:
    net = network("pixart")
    inputs = net.inputs(samples=2)
    tap = FeatureTap(rows=("cond",), dtype=torch.float16)
    with tap.record(net.seams, "transformer_blocks.1"):
        net(inputs)
    assert tap["transformer_blocks.1", 3].shape == (2, 16, 32)
    assert tap["transformer_blocks.1", 3].dtype == torch.float16


def test_unknown_places_are_named(sd: Network) -> None:
    with pytest.raises(UnknownName, match="mid_block"), sd.seams.features(lambda site, x: None, "mid_blok"):
        pass
    with pytest.raises(BadInput, match="no module"), sd.seams.features(lambda site, x: None, lambda path, module: False):
        pass
    assert sd.untouched()
