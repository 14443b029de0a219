"""Prompt-to-prompt: alignment by hand, the equations against an independent reference, and its effect on true UNets."""

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.models.editing import aligned, sequence_length, source_as_null, token_ids, word_mask
from diffolio.process.interpolation import slerp
from diffolio.seams import AttentionBank
from diffolio.seams.prompt_to_prompt import Alignment, PromptToPrompt, align, common_subsequence
from tests.models.tiny import tiny_model

A, B = "a red fish", "a blue fish"
START, END = 100, 101


def test_refine_keeps_new_words_apart():
    carry = align([START, 1, 2, 3, END], [START, 1, 9, 3, END], 8)
    expected = torch.eye(8)
    expected[2, 2] = 0
    assert torch.equal(carry, expected)


def test_refine_shifts_with_an_insertion_and_pads_with_padding():
    carry = align([START, 1, 2, END], [START, 1, 8, 9, 2, END], 8)
    pairs = {(int(s), int(t)) for s, t in carry.nonzero()}
    assert pairs == {(0, 0), (1, 1), (2, 4), (3, 5), (6, 6), (7, 7)}
    back = align([START, 1, 8, 9, 2, END], [START, 1, 2, END], 8)
    assert {(int(s), int(t)) for s, t in back.nonzero()} == {(0, 0), (1, 1), (4, 2), (5, 3), (6, 4), (6, 5), (6, 6), (7, 7)}


def test_replace_hands_on_the_maps_of_what_stood_there():
    same = align([START, 1, 2, 3, END], [START, 1, 9, 3, END], 5, "replace")
    assert torch.equal(same, torch.eye(5))
    one_to_two = align([START, 2, END], [START, 8, 9, END], 5, "replace")
    assert one_to_two[1].tolist() == [0, 0.5, 0.5, 0, 0]
    two_to_one = align([START, 8, 9, END], [START, 2, END], 5, "replace")
    assert two_to_one[:, 1].tolist() == [0, 1, 1, 0, 0]
    inserted = align([START, 2, END], [START, 2, 7, END], 5, "replace")
    assert inserted[:, 2].sum() == 0, "a word with nothing in its place keeps its own map"


def test_common_subsequence_is_the_longest():
    assert common_subsequence("xabyc", "aybzc") in ([(1, 0), (2, 2), (4, 4)], [(1, 0), (3, 1), (4, 4)])
    assert common_subsequence([1, 2], [3]) == []


def test_alignment_refusals():
    with pytest.raises(BadInput, match="cut them first"):
        align([1] * 9, [1], 8)
    with pytest.raises(UnknownName, match="alignment"):
        align([1], [1], 8, "swap")


def test_carried_is_the_papers_equation():
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.rand(2, 3, 5, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    ids = [[START, 1, 2, END], [START, 4, 5, 6, END]], [[START, 1, 8, 9, 2, END], [START, 4, 7, 6, END]]
    alignment = Alignment.of(*ids, length=8)
    reweight = torch.ones(2, 8)
    reweight[:, 2] = 2.0
    found = PromptToPrompt(alignment, reweight=reweight).carried(source, target)
    counterparts = [{0: 0, 1: 1, 4: 2, 5: 3, 6: 6, 7: 7}, {0: 0, 1: 1, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7}]
    for pair, counterpart in enumerate(counterparts):
        for t in range(8):
            own = source[pair, :, :, counterpart[t]] if t in counterpart else target[pair, :, :, t]
            torch.testing.assert_close(found[pair, :, :, t], own * (2.0 if t == 2 else 1.0))


def run(model, p2p=None, steps=4, prompts=(A, B), bank=None, **options):
    noise = torch.randn(1, model.channels, 16, 16, generator=torch.Generator().manual_seed(0)).repeat(len(prompts), 1, 1, 1)
    from contextlib import ExitStack

    with ExitStack() as held:
        if p2p is not None:
            held.enter_context(p2p.on(model.seams))
        if bank is not None:
            held.enter_context(bank.record(model.seams))
        return model.sample(list(prompts), latents=noise, steps=steps, guidance_scale=5.0, **options).latents


@pytest.mark.parametrize("which", ["sd", "sdxl"])
def test_the_target_takes_over_and_the_source_is_left_alone(which):
    model = tiny_model(which)
    p2p = PromptToPrompt(aligned(model, [A], [B]), cross_replace=0.5, self_replace=0.5)
    bank = AttentionBank(what=("q", "k", "probabilities"))
    plain, edited = run(model), run(model, p2p, bank=bank)
    # Probabilities are computed explicitly now, which differs from the kernel by roundings.
    torch.testing.assert_close(edited[0], plain[0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(edited[1], plain[1], atol=1e-3)
    assert model.denoiser._forward_hooks == {}
    assert torch.equal(run(model), plain), "gone afterwards"
    swapped = aligned(model, [A], [B]).shared[0]
    assert (~swapped).sum() == 1
    for (path, step), kept in bank.kept.items():
        site = bank.sites[path, step]
        p = kept["probabilities"]
        assert p.shape[0] == 4
        rows = p[site.row("cond")]
        if site.kind == "self":
            taken = step < 2 and max(site.grid) <= 8
            assert step == 0 or torch.equal(rows[0], rows[1]) == taken, (path, step)
            null = p[site.row("uncond")]
            assert step == 0 or not torch.equal(null[0], null[1]), "the null row is not edited"
        else:
            assert torch.equal(rows[0][..., swapped], rows[1][..., swapped]) == (step < 2)
            assert not torch.equal(rows[0][..., ~swapped], rows[1][..., ~swapped])


def test_equal_prompts_give_equal_pictures():
    model = tiny_model("sd")
    latents = run(model, PromptToPrompt(aligned(model, [A], [A])), prompts=(A, A))
    torch.testing.assert_close(latents[0], latents[1], atol=1e-5, rtol=1e-5)


def test_no_share_of_the_steps_is_no_edit():
    model = tiny_model("sd")
    p2p = PromptToPrompt(aligned(model, [A], [B]), cross_replace=0.0, self_replace=0.0)
    assert torch.equal(run(model, p2p), run(model))


def test_a_local_blend_keeps_the_source_where_its_words_do_not_act():
    model = tiny_model("sd")
    words = torch.cat([word_mask(model, [A], "fish"), word_mask(model, [B], "fish")])
    alignment = aligned(model, [A], [B])
    latents = run(model, PromptToPrompt(alignment, blend=words, blend_threshold=0.995))
    same = (latents[0] == latents[1]).all(0)
    assert 0 < same.sum() < same.numel()
    nowhere = run(model, PromptToPrompt(alignment, blend=words, blend_threshold=2.0))
    assert torch.equal(nowhere[1], nowhere[0])
    late = run(model, PromptToPrompt(alignment, blend=words, blend_from=1.0, blend_threshold=2.0))
    assert torch.equal(late, run(model, PromptToPrompt(alignment)))


def test_refuses_other_batches_and_unknown_steps():
    model = tiny_model("sd")
    p2p = PromptToPrompt(aligned(model, [A], [B]))
    with pytest.raises(BadInput, match="1 pairs of prompts"):
        run(model, p2p, prompts=(A, B, A))
    model.scheduler.set_timesteps(4)
    with pytest.raises(BadInput, match="know its step"), p2p.on(model.seams):
        model.predict(torch.zeros(2, 4, 16, 16), 7, model.condition([A, B]))


def test_a_models_tokens():
    model = tiny_model("sdxl")
    ids = token_ids(model, [A, B])
    assert len(ids[0]) == 5
    assert [x == y for x, y in zip(*ids, strict=True)] == [True, True, False, True, True]
    assert sequence_length(model) == 32
    assert word_mask(model, [A, B], ["red", "blue"])[:, 2].tolist() == [True, True]
    with pytest.raises(UnknownName, match="'green' is not in the prompt"):
        word_mask(model, [A], "green")
    long = token_ids(model, ["fish " * 60])[0]
    assert (len(long), long[-1]) == (32, ids[0][-1])
    with pytest.raises(BadInput, match="as many of both"):
        aligned(model, [A, B], [A])


@pytest.mark.parametrize("which", ["sd", "sdxl"])
def test_the_source_as_null_prompt(which):
    model = tiny_model(which)
    whole = model.condition([A, B])
    npi = source_as_null(model, [A], [B])
    assert npi.prompts == [A, B]
    for i in range(2):
        assert torch.equal(npi["uncond"]["encoder_hidden_states"][i], whole["cond"]["encoder_hidden_states"][0])
        assert torch.equal(npi["cond"]["encoder_hidden_states"][i], whole["cond"]["encoder_hidden_states"][i])
    if which == "sdxl":
        added = npi["uncond"]["added_cond_kwargs"]
        assert torch.equal(added["text_embeds"][1], whole["cond"]["added_cond_kwargs"]["text_embeds"][0])
        assert torch.equal(added["time_ids"], whole["cond"]["added_cond_kwargs"]["time_ids"])
    back = source_as_null(model, [A], [B], 1.0)["uncond"]["encoder_hidden_states"]
    torch.testing.assert_close(back, whole["uncond"]["encoder_hidden_states"])


def test_slerp_goes_on_the_sphere():
    a, b = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 1.0], [4.0, 0.0], [0.0, 0.0]])
    half = slerp(a, b, 0.5)
    torch.testing.assert_close(half, torch.tensor([[0.5**0.5, 0.5**0.5], [3.0, 0.0], [0.5, 0.5]]))
    torch.testing.assert_close(slerp(a[:1], b[:1], 0.25).norm(), torch.tensor(1.0))
