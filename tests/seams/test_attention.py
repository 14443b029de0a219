from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor, SlicedAttnProcessor
from torch import Tensor

from diffolio.errors import BadInput, UnknownName, Unsupported
from diffolio.seams import AttentionBank, Seams, Site, attention_logits
from tests.seams.conftest import Network, Networks, build


def nothing(site: Site, *tensors: Tensor) -> None:
    return None


def same(site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return q, k, v


def visited(network: Network, inputs: dict) -> list[Site]:
    seen: list[Site] = []
    with network.seams.attention(qkv=lambda site, q, k, v: seen.append(site)):
        network(inputs)
    return seen


def test_no_op_seams_are_bit_identical(each: Network) -> None:
    inputs = each.inputs(samples=2)
    bare = each(inputs)
    for editors in ({"qkv": same}, {"probabilities": nothing}, {"logits": nothing, "output": nothing}):
        with each.seams.attention(**editors):
            assert torch.equal(each(inputs), bare)
    assert torch.equal(each(inputs), bare)
    assert each.untouched()


def test_explicit_probabilities_agree_with_the_kernel(each: Network) -> None:
    inputs = each.inputs()
    plain = each(inputs)
    with each.seams.attention(probabilities=lambda site, p: p):
        assert torch.allclose(each(inputs), plain, atol=1e-5 * plain.abs().max().item())
        with each.seams.quiet():
            assert torch.equal(each(inputs), plain)


def test_every_attention_module_is_seen(each: Network) -> None:
    seen = {site.path for site in visited(each, each.inputs())}
    assert seen == {place.path for place in each.seams.sites()}


LEVELS = {(24, 40): [(24, 40), (12, 20), (6, 10), (3, 5)], (17, 16): [(17, 16), (9, 8), (5, 4), (3, 2)]}
KINDS = {
    "sd": {"self", "cross"},
    "sdxl": {"self", "cross"},
    "pixart": {"self", "cross"},
    "sd3": {"joint"},
    "flux": {"joint"},
}


@pytest.mark.parametrize(("size", "levels"), LEVELS.items())
def test_unet_grids_follow_the_latent_size(sd: Network, size: tuple[int, int], levels: list[tuple[int, int]]) -> None:
    sites = visited(sd, sd.inputs(*size))
    assert {site.grid for site in sites} == set(levels)
    assert all(site.grid == levels[0] for site in sites if site.path.startswith(("down_blocks.0", "up_blocks.3")))
    assert all(site.grid == levels[3] for site in sites if site.path.startswith("mid_block"))


def test_kinds_grids_and_rows_on_each_architecture(each: Network) -> None:
    rows = ("cond",) if each.name == "flux" else ("uncond", "cond")
    sites = visited(each, each.inputs(12, 20, samples=3, rows=len(rows)))
    assert {site.kind for site in sites} == KINDS[each.name]
    assert all(site.rows == rows and site.samples == 3 and site.step == 3 for site in sites)
    assert all(site.row("cond") == slice(3 * len(rows) - 3, 3 * len(rows)) for site in sites)
    if each.name in ("pixart", "sd3"):
        assert {site.grid for site in sites} == {(6, 10)}
    if each.name == "flux":
        assert {site.grid for site in sites} == {(12, 20)}
    with pytest.raises(UnknownName, match="cond"):
        sites[0].row("conditional")


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_text_slice_of_joint_attention_holds_the_text(network: Networks, name: str) -> None:
    """Editing only the text tokens' values of the image rows: the slice is right if shuffling text inputs moves exactly it."""
    net = network(name)
    inputs = net.inputs(rows=1)
    keys: list[dict[str, Tensor]] = []
    for text in (inputs["encoder_hidden_states"], inputs["encoder_hidden_states"].flip(1)):
        found: dict[str, Tensor] = {}

        def look(site: Site, q: Tensor, k: Tensor, v: Tensor, found: dict = found) -> None:
            if site.kind == "joint" and not found:
                assert site.text is not None
                assert site.image is not None
                found.update(text=v[:, :, site.text], image=v[:, :, site.image])
                assert site.image.stop - site.image.start + site.text.stop - site.text.start == v.shape[2]

        with net.seams.rows("cond"), net.seams.attention(qkv=look):
            net({**inputs, "encoder_hidden_states": text})
        keys.append(found)
    assert torch.equal(keys[0]["image"], keys[1]["image"])
    assert torch.allclose(keys[0]["text"], keys[1]["text"].flip(2), atol=1e-6)
    assert not torch.equal(keys[0]["text"], keys[1]["text"])


@pytest.mark.parametrize("name", ["sd", "sdxl", "pixart", "sd3"])
def test_edit_of_one_row_leaves_the_other_row(network: Networks, name: str) -> None:
    each = network(name)
    inputs = each.inputs(samples=2)

    def blank(site: Site, o: Tensor) -> Tensor:
        return torch.cat([o[site.row("uncond")], torch.zeros_like(o[site.row("cond")])])

    with each.seams.attention(output=blank):
        edited = each(inputs)
    plain = each(inputs)
    assert torch.equal(edited[:2], plain[:2])
    assert (edited[2:] - plain[2:]).abs().max() > 1e-3


def test_editors_act_in_order_and_see_what_the_ones_before_did(sd: Network) -> None:
    trace: list[str] = []
    where = {"where": lambda site: site.path == "mid_block.attentions.0.transformer_blocks.0.attn1"}

    def double(site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        trace.append("double")
        return q, k, v * 2

    def check(site: Site, q: Tensor, k: Tensor, v: Tensor) -> None:
        trace.append(f"then {v.abs().sum():.3f}")

    inputs = sd.inputs()
    with sd.seams.attention(qkv=check, **where), sd.seams.attention(qkv=double, **where), sd.seams.attention(qkv=check, **where):
        sd(inputs)
    assert trace[1] == "double"
    assert float(trace[2].split()[1]) == pytest.approx(2 * float(trace[0].split()[1]), rel=1e-3)


def test_keys_may_be_added_also_where_a_mask_hides_text(network: Networks) -> None:
    """Keys and values that are appended twice with weight zero (-inf logits) change nothing; unmasked they do."""
    net = network("pixart")
    inputs = net.inputs()

    def twice(site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return q, torch.cat([k, k], 2), torch.cat([v, v * 3], 2)

    def hide(site: Site, x: Tensor) -> Tensor:
        hidden = x.clone()
        hidden[..., x.shape[-1] // 2 :] = -torch.inf
        return hidden

    plain = net(inputs)
    with net.seams.attention(qkv=twice):
        assert not torch.allclose(net(inputs), plain, atol=1e-3)
        with net.seams.attention(logits=hide):
            assert torch.allclose(net(inputs), plain, atol=1e-4 * plain.abs().max().item())


def test_wrong_shapes_name_the_place_and_the_editor(sd: Network) -> None:
    with sd.seams.attention(output=lambda site, o: o[:1], name="half"), pytest.raises(BadInput, match=r"down_blocks.*half"):
        sd(sd.inputs())
    with pytest.raises(BadInput, match="needs an editor"), sd.seams.attention():
        pass
    assert sd.untouched()


def test_exception_in_the_middle_restores_everything(each: Network) -> None:
    inputs = each.inputs()
    plain = each(inputs)
    calls = []

    def fail(site: Site, q: Tensor, k: Tensor, v: Tensor) -> None:
        calls.append(site)
        if len(calls) == 2:
            raise RuntimeError("in an editor")

    with pytest.raises(RuntimeError, match="in an editor"), each.seams.attention(qkv=fail):
        each(inputs)
    assert each.untouched()
    assert torch.equal(each(inputs), plain)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_exception_inside_an_attention_call_that_is_caught_leaves_the_seam_working(sd: Network, error: type) -> None:
    inputs = sd.inputs()
    module = dict(sd.denoiser.named_modules())["mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"]

    def broken(*args: object) -> None:
        raise error("in a linear layer")

    with sd.seams.attention(qkv=same):
        handle = module.register_forward_hook(broken)
        with pytest.raises(error):
            sd(inputs)
        handle.remove()
        inside = sd(inputs)
    assert sd.untouched()
    assert torch.equal(inside, sd(inputs))


@pytest.mark.parametrize("processor", [AttnProcessor(), SlicedAttnProcessor(1)])
def test_processor_without_the_kernel_is_refused(processor: object) -> None:
    net = build("sd")
    net.denoiser.set_attn_processor(processor)
    plain = net(net.inputs())
    with net.seams.attention(qkv=same), pytest.raises(Unsupported, match=r"set_default_attn_processor"):
        net(net.inputs())
    with net.seams.attention(qkv=same, where=lambda site: False):
        assert torch.equal(net(net.inputs()), plain)
    assert net.untouched()


@pytest.mark.parametrize("name", ["pixart", "sd"])
def test_compiled_denoiser_edits_act_and_come_off(name: str) -> None:
    """A transformer compiled as a whole into a wrapper; a UNet of which one attention module was compiled in place."""

    def small() -> Network:
        net = build(name)
        if name == "pixart":
            del net.denoiser.transformer_blocks[1:]
        return net

    net = small()
    torch._dynamo.reset()
    compiled = net.denoiser
    if name == "pixart":
        compiled = net.pipeline.transformer = torch.compile(net.denoiser, backend="eager")
    else:
        net.denoiser.mid_block.attentions[0].transformer_blocks[0].attn1.compile(backend="eager")
    inputs = net.inputs()
    with torch.no_grad():
        plain = compiled(**inputs).sample
        with pytest.warns(RuntimeWarning, match="uncompiled"), net.seams.attention(output=lambda site, o: o * 0):
            edited = compiled(**inputs).sample
        with (expected := small()).seams.attention(output=lambda site, o: o * 0):
            assert torch.equal(expected(inputs), edited)
        assert not torch.allclose(edited, plain, atol=1e-3)
        assert torch.equal(compiled(**inputs).sample, plain)
    assert torch._dynamo.eval_frame._stance.stance == "default"
    assert net.untouched()


def test_gradients_pass_through_edited_attention(sd: Network) -> None:
    gain = torch.tensor(1.5, requires_grad=True)
    with sd.seams.attention(probabilities=lambda site, p: p * gain, where=lambda site: site.kind == "cross"):
        sd.denoiser(**sd.inputs()).sample.sum().backward()
    sd.denoiser.zero_grad(set_to_none=True)
    assert gain.grad is not None
    assert gain.grad.abs() > 0


def test_gradient_checkpointing_recomputes_under_the_seam() -> None:
    """The second forward of checkpointed blocks happens in backward, when no forward of the denoiser is running."""
    net = build("sd")
    net.denoiser.train()
    inputs = net.inputs()

    def gradient() -> Tensor:
        x = inputs["sample"].clone().requires_grad_()
        with net.seams.attention(qkv=lambda site, q, k, v: (q, k, v * (1 + site.step))):
            net.denoiser(**{**inputs, "sample": x}).sample.square().sum().backward()
        assert x.grad is not None
        return x.grad

    plain = gradient()
    net.denoiser.enable_gradient_checkpointing()
    assert torch.allclose(gradient(), plain, rtol=1e-4, atol=1e-5)
    assert net.untouched()


@pytest.mark.parametrize("mask", [None, "bool", "float"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_explicit_attention_matches_the_kernel_in_float64(mask: str | None, scale: float | None) -> None:
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 5, generator=g, dtype=torch.float64) for n in (4, 7, 7))
    m = None if mask is None else torch.rand(2, 1, 4, 7, generator=g) > 0.3
    m = m.double() if mask == "float" and m is not None else m
    p = torch.softmax(attention_logits(q, k, m, scale), -1)
    assert torch.allclose(p @ v, F.scaled_dot_product_attention(q, k, v, attn_mask=m, scale=scale), atol=1e-12)


def test_causal_and_grouped_calls_stay_what_they_are() -> None:
    from diffolio.seams import AttentionCall

    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 6, 5, generator=g, dtype=torch.float64) for heads in (4, 2, 2))
    call = AttentionCall(q, k, v, is_causal=True, enable_gqa=True)
    assert torch.allclose(call.weigh(torch.softmax(call.logits(), -1)), call.kernel(), atol=1e-12)


def test_bank_keeps_what_the_kernel_saw(sd: Network) -> None:
    inputs = sd.inputs(samples=2)
    plain = sd(inputs)
    bank = AttentionBank(what=("q", "k", "v", "probabilities", "output"), rows=("cond",), where=lambda site: site.kind == "cross")
    with bank.record(sd.seams):
        assert torch.equal(sd(inputs), plain)
    assert bank.steps() == [3]
    kept = bank[bank.paths()[0], 3]
    assert kept["probabilities"].shape == (2, 8, 64, 6)
    assert torch.allclose(kept["probabilities"].sum(-1), torch.ones(()), atol=1e-5)
    assert torch.allclose(kept["probabilities"] @ kept["v"], kept["output"], atol=1e-5)
    with pytest.raises(BadInput, match="nothing was recorded"):
        bank["mid_block", 0]
    with pytest.raises(UnknownName, match="probabilities"):
        AttentionBank(what=("probability",))


def test_pipeline_without_a_denoiser_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"\.unet nor \.transformer"):
        Seams(object()).sites()
