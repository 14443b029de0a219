"""AREdit: the mask against its definition, reconstructions that are exact, and edits that spread to finer scales."""

from dataclasses import replace

import pytest
import torch

from diffolio.errors import BadInput, BadKnob, Unsupported
from diffolio.methods.editing.aredit import PRESETS, AREdit, let_go, of_label
from diffolio.models import Model
from diffolio.process.discrete import uniform
from diffolio.process.sampling import generators
from diffolio.registry import make
from tests.models.tiny import tiny_next_scale, tiny_sd

SOURCES, TARGETS = ["a red ball", "a blue house"], ["a green cat", "two yellow fish"]


@pytest.fixture(scope="module")
def model():
    return Model(tiny_next_scale())


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("tau", [0.0, 0.2, 1.0])
def test_equal_prompts_give_the_tokenizers_reconstruction(model, images, tau, guidance):
    how = AREdit(gamma=0, tau=tau, guidance=guidance)
    edited, masks = how.edit(model, how.cache(model, images, SOURCES), SOURCES)
    assert torch.allclose(edited, model.decode(model.encode(images)), atol=1e-6)
    assert not any(bool(mask.any()) for mask in masks)


def test_a_tau_of_one_keeps_every_bit(model, images):
    how = AREdit(gamma=0, tau=1.0)
    edited, _ = how.edit(model, how.cache(model, images, SOURCES), TARGETS)
    assert torch.allclose(edited, model.decode(model.encode(images)), atol=1e-6)


@torch.no_grad()
def test_the_edit_follows_its_equations_scale_by_scale(model, images):
    """Written out with one forward for each scale, in which the target reads the edited features."""
    how = AREdit(gamma=1, tau=0.05, guidance=2.0, temperature=0.7)
    pipeline, net = model.pipeline, model.pipeline.transformer
    tokenizer = pipeline.autoencoder
    cache = how.cache(model, images, SOURCES)
    edited, masks = how.edit(model, cache, TARGETS, seed=4)
    source, target, null = (pipeline.encode_prompt(p) for p in (SOURCES, TARGETS, ["", ""]))
    bits, sums = tokenizer.quantize(tokenizer.encode(images))
    draw, mine = generators(4, 2), []
    for k, label in enumerate(bits):
        if k >= 1:
            before = [sums[:k], source]
            now = [[tokenizer.accumulate(mine[: j + 1]) for j in range(k)], target]
            guided = []
            for total, text in (before, now):
                cond, uncond = net(total, *text)[-1], net(total, *null)[-1]
                guided.append(uncond + 2.0 * (cond - uncond))
            likely = [torch.where(label, one.sigmoid(), 1 - one.sigmoid()) for one in guided]
            mask = likely[0] - likely[1] > 0.05 + 1e-4
            clear = (likely[0] - likely[1] - 0.05).abs() > 1e-3  # rounding may tip what is nearer
            assert torch.equal(masks[k][clear], mask[clear])
            label = torch.where(masks[k], uniform(label.shape, draw) < torch.sigmoid(guided[1] / 0.7), label)
            assert masks[k].any() and not masks[k].all()
        mine.append(label)
    assert torch.allclose(edited, model.decode(tokenizer.accumulate(mine)), atol=1e-5)
    assert not masks[0].any()


def test_bits_that_became_likelier_stay():
    before, now = torch.tensor([0.2, 0.9, 0.5]), torch.tensor([0.9, 0.2, 0.45])
    assert let_go(before, now, 0.1).tolist() == [False, True, False]
    logits, label = torch.tensor([2.0, 2.0]), torch.tensor([True, False])
    assert torch.allclose(of_label(logits, label), torch.stack([logits[0].sigmoid(), 1 - logits[0].sigmoid()]))


def test_masks_differ_between_bits_of_a_token(model, images):
    how = AREdit(gamma=1, tau=0.02)
    _, masks = how.edit(model, how.cache(model, images, SOURCES), TARGETS)
    shared = masks[-1].float().mean(1)
    assert ((shared > 0) & (shared < 1)).any(), "a mask for whole tokens is not per bit"
    _, every = how.edit(model, how.cache(model, images, SOURCES), TARGETS, adaptive=False)
    assert not every[0].any() and every[1].all() and every[-1].all()


def test_a_cache_serves_several_edits(model, images):
    how = AREdit(gamma=1, tau=0.05)
    cache = how.cache(model, images, SOURCES)
    first, _ = how.edit(model, cache, TARGETS, seed=1)
    other, _ = how.edit(model, cache, TARGETS[::-1], seed=1)
    again, _ = how.edit(model, cache, TARGETS, seed=1)
    assert torch.equal(first, again) and not torch.equal(first, other)
    one = replace(how).edit(model, how.cache(model, images[1:], SOURCES[1]), TARGETS[1], seed=2)[0]
    assert torch.allclose(one[0], first[1], atol=1e-5)


def test_an_edit_of_pictures_and_its_cost(model, images):
    edit = AREdit(gamma=1, tau=0.05)(model, images, SOURCES, TARGETS)
    assert edit.edited.shape == images.shape and edit.reconstruction is not None
    assert edit.numbers["model_calls"] == 2 * (1 + 3)
    assert edit.numbers["let_go_1"] == 0 and 0 < edit.numbers["let_go_8"] < 1
    same = AREdit()(model, images, SOURCES, SOURCES)
    assert torch.allclose(same.edited, same.reconstruction) and same.notes


def test_presets_take_the_place_of_the_knobs(model, images):
    gamma, tau = PRESETS["object"]
    results = [
        how.edit(model, how.cache(model, images, SOURCES), TARGETS)[0]
        for how in (AREdit(gamma=gamma, tau=tau), AREdit(gamma=3, tau=0.5, preset="object"))
    ]
    assert torch.equal(*results)


def test_bad_input(model, images):
    with pytest.raises(Unsupported, match="next_scale"):
        AREdit().cache(Model(tiny_sd()), images, SOURCES)
    with pytest.raises(BadKnob, match=r"gamma=4.*4 scales \[1, 2, 4, 8\]"):
        AREdit(gamma=4).cache(model, images, SOURCES)
    for tau in ("-0.1", "1.1"):
        with pytest.raises(BadKnob, match="tau"):
            make("aredit", {"tau": tau})
    with pytest.raises(BadInput, match="48x48.*32x32"):
        AREdit().cache(model, torch.rand(1, 3, 48, 48), "a cat")
    cache = AREdit(guidance=2.0).cache(model, images, SOURCES)
    with pytest.raises(BadInput, match="guidance 2"):
        AREdit(guidance=3.0).edit(model, cache, TARGETS)
