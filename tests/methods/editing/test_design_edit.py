"""DesignEdit: whose keys are masked and whose not, when layers are kept and fused, every operation, and the true UNets."""

from dataclasses import replace

import pytest
import torch

from diffolio.errors import BadInput, BadKnob, Unsupported
from diffolio.methods.editing.design_edit import BACKGROUND, CANVAS, REFERENCE, DesignEdit
from diffolio.models import Model
from diffolio.process.compositing import Window
from diffolio.process.layers import Layer, prepare
from diffolio.results import Job
from tests.models.tiny import tiny_model, tiny_pixart, tiny_sd

FAST = {"steps": 4, "grow_hole": 1.0, "grow_object": 0.5}


def pictures(n=1, height=128, width=128):
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0))


def square(n=1, height=128, width=128, top=40, left=32, side=40):
    mask = torch.zeros(n, height, width, dtype=torch.bool)
    mask[:, top : top + side, left : left + side] = True
    return mask


def streams(method, model, hole, layers=(), refine=None, images=None):
    """The clean latents by stream, from the same inversions."""
    images = pictures(len(hole), *hole.shape[1:]) if images is None else images
    paths = method.invert(model, [images, *(layer.image for layer in layers)], [""] * len(images))
    return method.denoise(model, paths, [""] * len(images), hole, list(layers), refine).split(len(images))


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def model(request):
    return tiny_model(request.param)


def watched(model, method, hole, **more):
    """The first self-attention's q, k, v of the last but one step, before and after the method's edit."""
    seen = {}

    def keep(name):
        def look(site, q, k, v):
            if site.kind == "self":
                seen.setdefault((name, site.path, site.step), (q.clone(), k.clone(), v.clone(), site))

        return look

    images = pictures(len(hole), *hole.shape[1:])
    paths = method.invert(model, [images], [""] * len(images))
    with model.seams.attention(qkv=keep("before")):
        with method._decomposing(
            model, paths[0].latents and [torch.cat([z] * 2) for z in paths[0].latents], len(images), hole, [], None
        ):
            with model.seams.attention(qkv=keep("after")):
                condition = model.condition([""] * 2 * len(images))
                noise = torch.cat([paths[0].noise] * 2)
                model.sample(condition=condition, latents=noise, steps=method.steps, guidance_scale=3.0, **more)
    return seen


def test_only_keys_of_the_background_in_the_conditional_row_and_not_in_the_first_step(model):
    method, hole = DesignEdit(**FAST), square(2, side=60)
    seen = watched(model, method, hole)
    paths = {path for _, path, _ in seen}
    assert len(paths) > 3
    for path in paths:
        for step in range(4):
            (q, k, v, site), (q2, k2, v2, _) = seen["before", path, step], seen["after", path, step]
            assert torch.equal(q, q2) and torch.equal(v, v2), "queries and values stay"
            if step in (0, 3):
                assert torch.equal(k, k2), "masked from the second step to 80% of them"
                continue
            cells = torch.nn.functional.interpolate(hole[:, None].float(), (16, 16), mode="nearest-exact")
            weight = torch.nn.functional.interpolate(cells, site.grid, mode="bilinear", align_corners=False)
            changed = (k != k2).flatten(1).any(1)
            background = site.row("cond").start + 2 * BACKGROUND
            assert changed.nonzero().flatten().tolist() == [background, background + 1]
            assert site.row("cond").start == 4, "the null row comes first and is untouched"
            expected = k[background : background + 2] * (1 - weight.flatten(2)[..., None])
            torch.testing.assert_close(k2[background : background + 2], expected)


def test_masked_keys_are_what_to_k_makes_of_masked_states(model):
    """K = W_k (h (1 - M)), and the logit of a masked key is 0, not -inf."""
    module = next(m for n, m in model.denoiser.named_modules() if n.endswith("attn1"))
    assert module.to_k.bias is None
    h, weight = torch.randn(1, 9, module.to_k.in_features), torch.rand(1, 9, 1)
    torch.testing.assert_close(module.to_k(h * (1 - weight)), module.to_k(h) * (1 - weight))


def test_an_empty_hole_gives_the_reference_bit_for_bit(model):
    made = streams(DesignEdit(**FAST), model, torch.zeros(2, 128, 128, dtype=torch.bool))
    assert torch.equal(made[BACKGROUND], made[REFERENCE])


def test_outside_of_the_hole_the_background_keeps_the_reference_and_inside_it_does_not(model):
    method = DesignEdit(**{**FAST, "keep_until": 1.0, "fuse_at": 1.0})
    hole = square()
    made = streams(method, model, hole)
    inside = torch.nn.functional.interpolate(hole[:, None].float(), (16, 16), mode="nearest-exact") > 0
    assert torch.equal(made[BACKGROUND].masked_fill(inside, 0), made[REFERENCE].masked_fill(inside, 0))
    assert not torch.equal(made[BACKGROUND], made[REFERENCE])
    unmasked = streams(replace(method, key_until=0.0, prox_lr=0.0), model, hole)
    torch.testing.assert_close(unmasked[BACKGROUND], unmasked[REFERENCE], atol=1e-4, rtol=1e-4)


def test_the_canvas_is_fused_once_after_the_background_is_filled():
    """Up to the fusion the canvas is the reference's twin; right after it, it is the background with the shifted object."""
    model, images, seen = Model(tiny_sd()), pictures(), {}
    method = DesignEdit(**{**FAST, "steps": 10, "prox_lr": 0.0})
    layer = prepare(Layer(square(), (0.25, 0.125)), images, (16, 16), lambda m: m)
    with model.seams.scheduler(after=lambda step, t, z: seen.__setitem__(step, z.clone())):
        streams(method, model, square(), [layer], images=images)
    fused = [step for step in range(10) if not torch.equal(seen[step][CANVAS], seen[step][REFERENCE])]
    assert fused[0] == 7, "after 8 of 10 steps; two harmonise"
    _, background, canvas, thing = seen[7]
    there = layer.placed((16, 16))[0, 0]
    assert torch.equal(canvas[:, ~there], background[:, ~there])
    assert torch.equal(canvas[:, there], thing.roll((2, 4), (1, 2))[:, there])
    assert layer.cells.tolist() == [[4, 2]]


def test_the_windows_are_those_of_fifty_steps():
    method = DesignEdit()
    within = lambda window: [step for step in range(50) if window.holds(step, 50)]  # noqa: E731
    assert within(Window(0.0, method.key_until, later=1)) == list(range(1, 40))
    assert within(Window(0.0, method.keep_until)) == list(range(41))
    assert within(Window(0.0, method.refine_until, later=1)) == list(range(1, 26))
    assert round(method.fuse_at * 50) == 42


def test_refine_masks_more_keys_but_keeps_the_rest_of_the_picture():
    model = Model(tiny_sd())
    method = DesignEdit(**{**FAST, "keep_until": 1.0, "fuse_at": 1.0})
    hole, more = square(), square() | square(top=90, left=90, side=24)
    plain, refined = streams(method, model, hole), streams(method, model, hole, refine=more)
    inside = torch.nn.functional.interpolate(hole[:, None].float(), (16, 16), mode="nearest-exact") > 0
    changed = plain[BACKGROUND] != refined[BACKGROUND]
    assert changed[inside.expand_as(changed)].any() and not changed[~inside.expand_as(changed)].any()


@pytest.mark.parametrize(
    ("knobs", "mask", "inputs"),
    [
        ({"operation": "remove"}, True, {}),
        ({"operation": "move", "dx": 0.2}, True, {}),
        ({"operation": "resize", "scale": 0.6}, True, {}),
        ({"operation": "flip", "mirror": "both"}, True, {}),
        ({"operation": "swap"}, True, {"other": square(top=88, left=80, side=24)[0]}),
        ({"operation": "repeat", "dx": 0.2, "copies": 2}, True, {}),
        ({"operation": "compose", "dx": 0.1}, True, {"other": pictures()[0].flip(-1)}),
        ({"operation": "pan", "dx": 0.25, "dy": -0.125}, False, {}),
        ({"operation": "zoom", "scale": 0.7}, False, {}),
        ({"operation": "layers"}, True, {"layers": [Layer(square(), (0.2, 0.0), 1.2), Layer(square()[0], flip="vertical")]}),
    ],
    ids=lambda x: x.get("operation") if isinstance(x, dict) else "",
)
def test_every_operation_on_a_picture_that_is_not_square(knobs, mask, inputs):
    model = Model(tiny_sd())
    images, wide = pictures(width=192), lambda x: torch.nn.functional.pad(x, (0, 64))
    inputs = {
        name: wide(x) if isinstance(x, torch.Tensor) else [replace(y, mask=wide(y.mask)) for y in x] for name, x in inputs.items()
    }
    method = DesignEdit(**{**FAST, "steps": 2, **knobs})
    edit = method(model, images, "", "", wide(square()) if mask else None, **inputs)
    assert edit.edited.shape == images.shape and torch.isfinite(edit.edited).all()
    layers = {"move": 1, "resize": 1, "flip": 1, "swap": 2, "repeat": 2, "compose": 1, "layers": 2}.get(method.operation, 0)
    assert edit.report["streams"] == (3 + layers if layers else 2)
    assert len([name for name in edit.extra if name.startswith("layer")]) == layers


def test_a_picture_does_not_depend_on_its_batch(model):
    method, images, mask = DesignEdit(operation="move", dx=0.2, **FAST), pictures(2), torch.cat([square(), square(top=60)])
    both = method(model, images, "", "", mask).edited
    alone = method(model, images[1:], "", "", mask[1:]).edited
    torch.testing.assert_close(both[1:], alone, atol=1e-3, rtol=0)


def test_the_ablation_and_the_source_prompt_make_a_difference():
    model, hole = Model(tiny_sd()), square()
    ours, unseen = (streams(DesignEdit(**FAST, masking=m), model, hole)[BACKGROUND] for m in ("zero_key", "neg_inf"))
    assert torch.isfinite(unseen).all() and not torch.equal(ours, unseen)
    everything = torch.ones_like(hole)
    assert torch.isfinite(streams(DesignEdit(**FAST, masking="neg_inf"), model, everything)[BACKGROUND]).all()
    worded = DesignEdit(**FAST, use_prompt=True)(model, pictures(), "a red fish", "", hole)
    assert worded.report["prompts"] == ["a red fish"]


def test_the_model_is_as_before_also_after_an_exception(model, monkeypatch):
    before = model.sample("a red fish", steps=2).images
    DesignEdit(**FAST)(model, pictures(), "", "", square())
    assert torch.equal(model.sample("a red fish", steps=2).images, before)
    with monkeypatch.context() as patch:
        patch.setattr(model.scheduler, "scale_model_input", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            streams(DesignEdit(**FAST), model, square())
    assert torch.equal(model.sample("a red fish", steps=2).images, before)


def test_no_memory_names_the_batch(monkeypatch):
    model = Model(tiny_sd())

    def fails(**_):
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(model, "sample", fails)
    with pytest.raises(BadInput, match=r"batch of 8 \(1 pictures, 4 streams"):
        DesignEdit(operation="move", dx=0.1, **FAST)(model, pictures(), "", "", square())


def test_run_draws_a_tabletop_with_its_mask():
    result = DesignEdit(**{**FAST, "steps": 2}).run(Job(Model(tiny_sd()), ["a red fish"]))
    assert {"source", "edit", "baseline", "background"} <= set(result.images)


def test_what_cannot_be_done_says_so():
    model, method = Model(tiny_sd()), DesignEdit(**FAST)
    with pytest.raises(BadInput, match="needs mask"):
        method(model, pictures())
    with pytest.raises(BadInput, match="empty"):
        method(model, pictures(), "", "", torch.zeros(1, 128, 128, dtype=torch.bool))
    with pytest.raises(BadInput, match="64x64 for pictures of 128x128"):
        method(model, pictures(), "", "", square(height=64, width=64, top=1, left=1))
    with pytest.raises(BadInput, match="out of the picture"):
        DesignEdit(operation="move", dx=0.9, **FAST)(model, pictures(), "", "", square())
    with pytest.raises(BadInput, match="'other'"):
        DesignEdit(operation="swap", **FAST)(model, pictures(), "", "", square())
    with pytest.raises(BadInput, match="64x64 for pictures of 128x128"):
        DesignEdit(operation="compose", **FAST)(model, pictures(), "", "", square(), other=pictures(height=64, width=64))
    with pytest.raises(BadInput, match="not both 0"):
        DesignEdit(operation="pan", **FAST)(model, pictures())
    with pytest.raises(BadInput, match="layer's mask"):
        DesignEdit(operation="layers", **FAST)(model, pictures(), "", "", square(), layers=[Layer(square().float())])
    with pytest.raises(BadKnob, match="below 1"):
        DesignEdit(operation="zoom", scale=1.5)
    with pytest.raises(BadKnob, match="before keep_until"):
        DesignEdit(fuse_at=0.5)
    with pytest.raises(Unsupported, match="unet"):
        method(Model(tiny_pixart()), pictures(), "", "", square())
