"""The miniatures' tokenizers: every word of the worlds is one token, in every process the same one."""

from diffolio import miniatures
from diffolio.miniatures.text import learned, t5_tokenizer, tokenizer
from diffolio.worlds import motion, tabletop


def test_every_word_is_one_token():
    clip, t5 = tokenizer(), t5_tokenizer(tuple(motion.vocabulary()))
    assert all(len(clip(word).input_ids) == 3 for word in tabletop.vocabulary())
    assert all(len(t5(word).input_ids) == 2 for word in motion.vocabulary())
    spelled = clip("xylophone").input_ids
    assert len(spelled) > 3 and clip.decode(spelled, skip_special_tokens=True).strip() == "xylophone"


def test_it_is_the_one_that_mini_sd_was_trained_with():
    from transformers import CLIPTokenizer

    theirs = CLIPTokenizer.from_pretrained(miniatures.folder("mini-sd") / "tokenizer")
    assert tokenizer().get_vocab() == theirs.get_vocab()
    text = "an outline drawing of a red circle left of a blue star, zebra"
    assert tokenizer()(text).input_ids == theirs(text).input_ids


def test_the_kept_vocabulary_is_one_that_learning_gives():
    assert set(learned(tabletop.vocabulary())["vocab"]) == set(tokenizer().get_vocab())
