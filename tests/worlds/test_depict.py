"""Captions back to scenes: what is drawn is what the caption says."""

import pytest

from diffolio.worlds.tabletop import describe, judge, read, render
from diffolio.worlds.tabletop.depict import depict, recolour


@pytest.mark.parametrize(
    "caption",
    [
        "a green tree",
        "a red circle left of a blue star",
        "a yellow fish above a purple house",
        "an orange boat below a pink heart on a cream background",
        "a blue square right of a green ring on a pale blue background",
        "a red circle and a blue square",
    ],
)
def test_the_scene_has_its_caption_and_shows_it(caption):
    scene = depict(caption)
    assert scene is not None
    assert describe(scene) == caption
    (reading,) = read(render([scene], 64).images)
    assert judge(reading, scene).all


def test_paraphrases_and_adjectives():
    scene = depict("a blue star on the left and a small tilted red fish on the right on a striped mint background")
    assert scene is not None
    assert (scene.texture, scene.background, scene.relation) == ("striped", "mint", "left of")
    star, fish = sorted(scene.things, key=lambda thing: thing.x)
    assert (star.kind, fish.kind) == ("star", "fish")
    assert fish.size < star.size
    assert fish.angle > 8
    assert depict("an outline drawing of a red fish").style == "outline"
    assert depict("a red fish in the snow").style == "snow"


@pytest.mark.parametrize(
    "prompt", ["", "a photograph of Rome", "a fish", "a red fish eating a blue star", "a red fish, a blue star and a green tree"]
)
def test_what_cannot_be_drawn_is_none(prompt):
    assert depict(prompt) is None


def test_recolour():
    assert recolour("a red circle left of a blue star") == "a green circle left of a blue star"
    assert recolour("a red circle left of a green star") == "a cyan circle left of a green star"
    assert recolour("a purple fish") == "an orange fish"
    assert recolour("a photograph of Rome") is None
