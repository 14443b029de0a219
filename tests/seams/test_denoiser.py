from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from diffolio.errors import BadInput, Conflict, UnknownName, Unsupported
from diffolio.seams import Call
from tests.seams.conftest import Network, Networks

GUIDED = ["sd", "sdxl", "pixart", "sd3"]


def test_no_op_is_bit_identical_and_shows_every_row(each: Network) -> None:
    names = ("cond",) if each.name == "flux" else ("uncond", "cond")
    inputs = each.inputs(samples=2, rows=len(names))
    plain = each(inputs)
    calls: list[Call] = []
    outputs: list[dict[str, Tensor]] = []
    with each.seams.denoiser(before=calls.append, after=lambda call, out: outputs.append(out)):
        assert torch.equal(each(inputs), plain)
    call, out = calls[0], outputs[0]
    assert (call.rows, call.own, call.samples, call.step, call.steps) == (names, names, 2, 3, 8)
    assert torch.equal(
        torch.cat([out[name] for name in names]), plain[:, : call.latents.shape[1]] if call.latents.ndim == 4 else plain
    )
    assert call.kind == ("flow" if each.name in ("sd3", "flux") else "epsilon")
    assert each.untouched()


@pytest.mark.parametrize("name", GUIDED)
def test_added_row_is_what_it_would_be_alone(network: Networks, name: str) -> None:
    net = network(name)
    inputs = net.inputs(samples=2)
    plain = net(inputs)
    other = torch.randn(2, 6, inputs["encoder_hidden_states"].shape[-1], generator=torch.Generator().manual_seed(1))
    alone = {}

    def add(call: Call) -> Call:
        return call.add("third", like="uncond", encoder_hidden_states=other).add("twin", like="cond")

    def after(call: Call, out: dict[str, Tensor]) -> None:
        alone.update(out)
        assert call.rows == ("uncond", "cond", "third", "twin")

    with net.seams.denoiser(before=add, after=after):
        edited = net(inputs)
    assert edited.shape == plain.shape
    assert torch.allclose(edited, plain, atol=1e-5)
    assert torch.allclose(alone["twin"], alone["cond"], atol=1e-5)
    text = inputs["encoder_hidden_states"].clone()
    text[:2] = other
    expected = net({**inputs, "encoder_hidden_states": text})[:2, : alone["third"].shape[1]]
    assert torch.allclose(alone["third"], expected, atol=1e-5)


def test_sites_see_added_rows(sd: Network) -> None:
    seen = set()
    with (
        sd.seams.denoiser(before=lambda call: call.add("third")),
        sd.seams.attention(qkv=lambda site, q, k, v: seen.add((site.rows, site.samples, q.shape[0]))),
    ):
        sd(sd.inputs(samples=2))
    assert seen == {(("uncond", "cond", "third"), 2, 6)}


@pytest.mark.parametrize("name", GUIDED)
def test_rule_of_combination_can_be_replaced(network: Networks, name: str) -> None:
    """The same tensor in both rows: uncond + w (cond - uncond) is that tensor whatever w."""
    net = network(name)
    inputs = net.inputs()
    channels = inputs[next(iter(inputs))].shape[1]
    plain = net(inputs)
    uncond, cond = plain.chunk(2)
    with net.seams.denoiser(after=lambda call, out: call.same(out["cond"] * 2 - out["uncond"])):
        edited = net(inputs)
    assert torch.equal(edited[:1, :channels], edited[1:, :channels])
    assert torch.allclose(edited[:1, :channels], (2 * cond - uncond)[:, :channels], atol=1e-5)
    assert torch.equal(edited[:, channels:], plain[:, channels:])  # PixArt's learned variance stays


def test_replace_row_and_change(network: Networks) -> None:
    net = network("sdxl")
    inputs = net.inputs(samples=2)
    text, pooled = inputs["encoder_hidden_states"][:2], inputs["added_cond_kwargs"]["text_embeds"][:2]

    def swap(call: Call) -> Call:
        changed = call.replace_row("cond", encoder_hidden_states=text, added_cond_kwargs={"text_embeds": pooled})
        assert torch.equal(
            changed.part("cond")["added_cond_kwargs"]["time_ids"], call.part("cond")["added_cond_kwargs"]["time_ids"]
        )
        return changed

    with net.seams.denoiser(before=swap):
        edited = net(inputs)
    assert torch.allclose(edited[:2], edited[2:], atol=1e-5)
    with net.seams.denoiser(before=lambda call: call.change(timestep=torch.tensor(1))):
        late = net(inputs)
    assert torch.equal(late, net({**inputs, "timestep": torch.tensor(1)}))


def test_row_with_its_own_timestep_and_latents(sd: Network) -> None:
    inputs = sd.inputs()
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    found = {}
    with sd.seams.denoiser(
        before=lambda call: call.add("other", latents=noise, timestep=5), after=lambda call, out: found.update(out)
    ):
        sd(inputs)
    both = torch.cat([noise, noise])
    assert torch.allclose(found["other"], sd({**inputs, "sample": both, "timestep": torch.tensor(5)})[1:], atol=1e-5)


def test_nested_residuals_are_extended_with_the_rows(sd: Network) -> None:
    """ControlNet gives a tuple of residuals; every one of them has rows."""
    inputs = sd.inputs()
    shapes: list[tuple[int, ...]] = []
    handles = [module.register_forward_hook(lambda m, a, out: shapes.append(out.shape)) for module in (sd.denoiser.conv_in,)]
    sd(inputs)
    handles[0].remove()
    call = Call(inputs["sample"], inputs["timestep"], {"mid": (torch.ones(2, 3), [torch.ones(2, 1), None], 0.5)}, ("uncond", "cond"),
                ("uncond", "cond"), _run(sd))  # fmt: skip
    first, (second, nothing), scale = call.add("third").kwargs["mid"]
    assert first.shape == (3, 3)
    assert second.shape == (3, 1)
    assert (nothing, scale) == (None, 0.5)
    with pytest.raises(BadInput, match="shared by all rows"):
        call.add("third", mid=(first[:1], [second[:1], None], 1.0))


def _run(net: Network) -> Any:
    runs = []
    with net.seams.denoiser(before=lambda call: runs.append(call.run)):
        net(net.inputs())
    return runs[0]


def test_clean_estimate_of_a_call(each: Network) -> None:
    inputs = each.inputs(rows=1)
    plain: list[Tensor] = []

    def look(call: Call, out: dict[str, Tensor]) -> None:
        prediction = call.prediction(out["cond"], "cond")
        again = call.alpha * prediction.clean + call.sigma * prediction.noise
        plain.append((again - call.latents).abs().max())
        if call.kind == "flow":
            assert 0 < float(call.sigma) < 1
            assert float(call.alpha + call.sigma) == pytest.approx(1)

    with each.seams.rows("cond"), each.seams.denoiser(after=look):
        each(inputs)
    assert plain[0] < 1e-4


def test_after_editors_act_in_reverse_order(sd: Network) -> None:
    inputs = sd.inputs()
    plain = sd(inputs)
    add = {"after": lambda call, out: {name: x + 1 for name, x in out.items()}}
    double = {"after": lambda call, out: {name: x * 2 for name, x in out.items()}}
    with sd.seams.denoiser(**add), sd.seams.denoiser(**double):
        assert torch.allclose(sd(inputs), plain * 2 + 1, atol=1e-5)


def test_network_may_be_called_inside_an_editor(sd: Network) -> None:
    inputs = sd.inputs()
    plain = sd(inputs)
    inside: list[Tensor] = []
    trace: list[tuple[str, ...]] = []

    def call_again(call: Call) -> Call:
        inside.append(sd(inputs))
        return call.add("third")

    with sd.seams.denoiser(before=call_again), sd.seams.attention(qkv=lambda site, q, k, v: trace.append(site.rows)):
        sd(inputs)
    assert torch.equal(inside[0], plain)
    assert trace[0] == ("uncond", "cond")
    assert trace[-1] == ("uncond", "cond", "third")


def test_rows_are_not_guessed_when_the_batch_does_not_show_them(network: Networks) -> None:
    net = network("sd")
    inputs = net.inputs(samples=2)
    inputs["sample"] = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with net.seams.denoiser(before=lambda call: None):
        with pytest.raises(Unsupported, match=r"seams\.rows"):
            net(inputs)
        with net.seams.rows("image", "text"):
            net(inputs)
        with net.seams.rows("a", "b", "c"), pytest.raises(BadInput, match="multiple of 3"):
            net(inputs)
    assert net.untouched()


def test_mistakes_are_named(sd: Network) -> None:
    inputs = sd.inputs()
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"before": lambda call: call.add("cond")}, BadInput, "there is a row 'cond' already"),
        ({"before": lambda call: call.add("third", like="null")}, UnknownName, "unknown row 'null'"),
        ({"before": lambda call: call.add("third", text=1)}, BadInput, "has no text; it was called with latents"),
        ({"before": lambda call: call.add("third", encoder_hidden_states=torch.ones(1, 5, 16))}, BadInput, "does not fit"),
        ({"before": lambda call: 3, "name": "three"}, BadInput, "three gave a int"),
        ({"after": lambda call, out: {"null": out["cond"]}}, BadInput, "gave a row 'null'"),
        ({"after": lambda call, out: {"cond": out["cond"][:, :1]}, "name": "thin"}, BadInput, r"thin gave \(1, 1, 8, 8\)"),
        ({}, BadInput, "needs an editor"),
    ]
    plain = sd(inputs)
    for editor, error, message in cases:
        with pytest.raises(error, match=message), sd.seams.denoiser(**editor):
            sd(inputs)
        assert sd.untouched()
    assert torch.equal(sd(inputs), plain)


def test_claims_conflict_with_both_names(sd: Network) -> None:
    with sd.seams.claim("guidance rule", "APG"):
        second = sd.seams.claim("guidance rule", "CFG++")
        with pytest.raises(Conflict, match=r"CFG\+\+ and APG both need 'guidance rule'"), second:
            pass
    with sd.seams.claim("guidance rule", "CFG++"):
        pass
