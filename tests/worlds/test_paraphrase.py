import re

import pytest

from diffolio.errors import BadInput
from diffolio.worlds.tabletop import Mixture, sample_scenes
from diffolio.worlds.tabletop.paraphrase import paraphrases, parse


def test_what_a_caption_says_is_understood():
    said = parse("a red circle on the left and a blue star on the right on a striped mint background at night")
    assert said.things == ("a red circle", "a blue star")
    assert said.relation == ("left of", 0, 1)
    assert said.ending == "on a striped mint background at night"
    assert said.foreign == ()
    assert parse("Zuvo, an orange boat, kim").foreign == ("zuvo", "kim")


def test_every_caption_of_the_world_is_understood():
    for scene in sample_scenes(200, 3, Mixture(counts=(0.4, 0.5, 0.1))):
        said = parse(scene.caption)
        assert said.foreign == (), scene.caption
        assert len(said.things) == len(scene.things), scene.caption


def test_paraphrases_keep_the_content_and_thin_the_rest():
    prompt = "rida mufe , a purple square"
    found = paraphrases(prompt)
    assert 10 <= len(found) == len(set(found)) <= 25
    assert found == paraphrases(prompt)
    assert prompt not in found
    assert all("purple square" in text for text in found)
    assert "rida" in found[0]
    assert not re.search("rida|mufe", found[-1])


def test_a_short_list_still_reaches_far():
    assert "mufe" not in paraphrases("rida mufe , a purple square", 3)[-1]


def test_relations_stay_true_when_said_the_other_way_round():
    for text in paraphrases("a red circle left of a blue star", 10):
        said = parse(text)
        name, a, b = said.relation
        left, right = (a, b) if name == "left of" else (b, a)
        assert (said.things[left], said.things[right]) == ("a red circle", "a blue star")


def test_bad_prompts():
    with pytest.raises(BadInput, match="names no thing"):
        paraphrases("a photograph of an astronaut")
    with pytest.raises(BadInput, match="at least one"):
        paraphrases("a red star", 0)
