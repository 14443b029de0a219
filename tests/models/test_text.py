"""Conditions and prompts: rows, what is cut off, and where words stand."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.models import Condition, DiffolioWarning
from tests.models.tiny import tiny_model

PROMPTS = ["a red circle left of a blue star", "a green tree"]
LONG = " ".join(["a red circle"] * 12) + " above the last purple zebra"  # 36 words and 5 more; CLIP reads 30


@pytest.mark.parametrize("which", ["sd", "sdxl", "pixart", "sd3"])
def test_rows_are_arguments_of_the_denoiser(which: str) -> None:
    model = tiny_model(which)
    condition = model.condition(PROMPTS, negative="a house")
    assert list(condition.rows) == ["uncond", "cond"]
    assert condition.negative == ["a house", "a house"]
    x = torch.zeros(2, model.channels, 16, 16)
    for row in condition.rows.values():
        out = model.denoiser(x, timestep=torch.tensor([5, 5]), **row).sample
        assert out.shape[0] == 2


def test_the_empty_negative_is_the_pipelines_own_null() -> None:
    """SDXL's is zeros, the others' the empty text."""
    for negative in (None, "", ["", ""]):
        assert float(tiny_model("sdxl").condition(PROMPTS, negative)["uncond"]["encoder_hidden_states"].abs().max()) == 0
    sd = tiny_model("sd")
    null, empty = sd.condition(PROMPTS)["uncond"], sd.condition(["", ""])["cond"]
    assert torch.equal(null["encoder_hidden_states"], empty["encoder_hidden_states"])


def test_sdxl_is_told_the_size() -> None:
    model = tiny_model("sdxl")
    ids = model.condition(PROMPTS)["cond"]["added_cond_kwargs"]["time_ids"]
    assert ids.tolist() == [[128, 128, 0, 0, 128, 128]] * 2
    fixed = model.condition(PROMPTS, height=64, width=96)
    assert fixed["uncond"]["added_cond_kwargs"]["time_ids"].tolist() == [[64, 96, 0, 0, 64, 96]] * 2
    assert fixed.size == (64, 96)
    # A fixed size is kept whatever the latents; the other kind follows them.
    x = torch.zeros(2, 4, 4, 4)
    with torch.no_grad():
        follows, kept = model.predict(x, 5, model.condition(PROMPTS)).raw, model.predict(x, 5, fixed).raw
        told = model.predict(x, 5, model.condition(PROMPTS, height=32, width=32)).raw
    assert torch.equal(follows, told)
    assert not torch.equal(follows, kept)


def test_index_repeat_and_join() -> None:
    condition = tiny_model("sdxl").condition(PROMPTS, negative=["x", "y"])
    one = condition.index(1)
    assert (one.prompts, one.negative, len(one)) == (["a green tree"], ["y"], 1)
    assert torch.equal(one["cond"]["added_cond_kwargs"]["text_embeds"], condition["cond"]["added_cond_kwargs"]["text_embeds"][1:])
    assert condition.index([1, 0]).prompts == PROMPTS[::-1]
    assert condition.index(slice(0, 1)).prompts == PROMPTS[:1]
    assert condition.index(-1).prompts == PROMPTS[1:]
    twice = condition.repeat(2)
    assert twice.prompts == [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]]
    states = twice["cond"]["encoder_hidden_states"]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])
    joined = condition.joined(("uncond", "cond"))
    assert torch.equal(joined["encoder_hidden_states"][2:], condition["cond"]["encoder_hidden_states"])
    assert joined["added_cond_kwargs"]["time_ids"].shape == (4, 6)
    with pytest.raises(IndexError):
        condition.index(2)
    with pytest.raises(BadInput, match="at least one"):
        condition.repeat(0)
    with pytest.raises(UnknownName, match="cond"):
        condition["conditional"]


def test_a_row_can_be_added_and_changed() -> None:
    condition = tiny_model("sd").condition("a tree")
    zero = torch.zeros_like(condition["cond"]["encoder_hidden_states"])
    changed = condition.with_row("null", encoder_hidden_states=zero)
    assert list(changed.rows) == ["uncond", "cond", "null"]
    assert "null" not in condition.rows
    assert changed.joined(("null", "cond"))["encoder_hidden_states"].shape[0] == 2


def test_moving_keeps_masks_whole() -> None:
    moved = tiny_model("pixart").condition("a tree").to(torch.float64)
    assert moved["cond"]["encoder_hidden_states"].dtype == torch.float64
    assert moved["cond"]["encoder_attention_mask"].dtype == torch.int64
    assert isinstance(moved, Condition)


@pytest.mark.parametrize("which", ["sd", "sdxl"])
def test_a_long_prompt_is_cut_with_the_words_named(which: str) -> None:
    with pytest.warns(DiffolioWarning, match="'a red circle a red circle above the last purple zebra' is cut off; shorten"):
        condition = tiny_model(which).condition(LONG)
    assert condition["cond"]["encoder_hidden_states"].shape[1] == 32


def test_a_word_that_is_cut_in_its_middle_is_named_whole() -> None:
    """27 known words, then one that is spelled in letters: its first letters are read, the word is still named."""
    prompt = " ".join(["a red circle"] * 9) + " bxqzk tree"
    with pytest.warns(DiffolioWarning, match="'bxqzk tree' is cut off"):
        tiny_model("sd").condition(prompt)


def test_t5_reads_more_and_sd3_says_so() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_model("pixart").condition(LONG)
    with pytest.warns(DiffolioWarning, match="another encoder of the model reads them"):
        tiny_model("sd3").condition(LONG)
    with pytest.warns(DiffolioWarning, match="longer than the 120 tokens that the T5"):
        tiny_model("pixart").condition("a red circle " * 60)


def test_a_long_negative_prompt_is_told_too_and_the_libraries_are_quiet(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.warns(DiffolioWarning, match="zebra"):
        tiny_model("sd").condition("a tree", negative=LONG)
    assert not caplog.records


def test_the_warning_points_at_the_caller() -> None:
    for call in (lambda model: model.condition(LONG), lambda model: model.sample(LONG, steps=1, height=32, width=32)):
        with pytest.warns(DiffolioWarning) as caught:
            call(tiny_model("sd"))
        assert caught[0].filename == __file__


# Where words stand ----------------------------------------------------------------------------------------------------------


def test_spans_are_token_positions_behind_the_start_mark() -> None:
    model = tiny_model("sd")
    assert model.token_span(PROMPTS[0], "a") == [1, 6]  # both occurrences
    assert model.token_span(PROMPTS[0], "red") == [2]
    assert model.token_span(PROMPTS[0], "blue star") == [7, 8]
    assert model.token_span(PROMPTS[0], "Blue  STAR") == [7, 8]
    assert model.token_span("a zebra", "zebra") == [2, 3, 4, 5, 6]  # not in the vocabulary: spelled
    assert model.token_span("a red, (blue) tree.", "blue") == [
        model.pipeline.tokenizer("a red, (blue) tree.").tokens().index("blue</w>")
    ]


@pytest.mark.parametrize(("which", "position"), [("sd", [2]), ("sdxl", [2]), ("pixart", [1]), ("sd3", [2, 33])])
def test_spans_on_every_text_side(which: str, position: list[int]) -> None:
    """T5 has no start mark; in SD3 its 32 tokens of CLIP come first. The embedding at the span is what the word changes most."""
    model = tiny_model(which)
    assert model.token_span(PROMPTS[0], "red") == position
    assert model.token_span(PROMPTS[0], "RED") == position
    if which != "sd3":  # whose T5 reads capitals as they are
        assert model.token_span(" " + PROMPTS[0].upper(), "red") == position
    red, green = (model.condition(f"a {colour} circle")["cond"]["encoder_hidden_states"][0] for colour in ("red", "green"))
    changed = (red - green).abs().mean(1)
    assert int(changed.argmax()) in model.token_span("a red circle", "red")


def test_words_that_are_not_there() -> None:
    model = tiny_model("sd")
    with pytest.raises(UnknownName, match="Did you mean circle"):
        model.token_span(PROMPTS[0], "cirle")
    with pytest.raises(UnknownName, match="not in the prompt"):
        model.token_span("two circles", "circle")
    with pytest.raises(BadInput, match="empty word"):
        model.token_span(PROMPTS[0], "  ")
    with pytest.raises(BadInput, match="shorten the prompt"):
        model.token_span(LONG, "zebra")
