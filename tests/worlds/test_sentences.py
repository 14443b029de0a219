"""The pairs of sentences and their reader."""

import pytest

from diffolio.errors import BadInput
from diffolio.worlds.sentences import PAD, SENSE, Pair, read, sample_pairs, sensible, vocabulary


def test_what_is_drawn_is_read_and_makes_sense():
    pairs = sample_pairs(200, 3)
    assert pairs == sample_pairs(200, 3) and pairs != sample_pairs(200, 4)
    known = set(vocabulary())
    for pair in pairs:
        assert read([*pair.words, PAD, PAD]) == pair and sensible(pair) and set(pair.words) <= known
    assert {pair.when for pair in pairs} == set(SENSE)


def test_what_is_wrong_is_told_from_what_is_no_sentence():
    wrong = Pair("night", "here", "sky", "is", "bright")
    assert read(wrong.words) == wrong and not sensible(wrong)
    words = wrong.words
    for place in range(len(words)):
        broken = [*words[:place], "the" if words[place] != "the" else "it", *words[place + 1 :]]
        assert read(broken) is None, broken
    assert read(words[:-1]) is None and read([*words, "."]) is None and not sensible(None)
    with pytest.raises(BadInput, match="0 pairs"):
        sample_pairs(0, 1)
