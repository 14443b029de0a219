"""Tabletop pictures as stacks: they add up to the picture, and every layer shows its thing alone."""

import random
from dataclasses import replace

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.worlds.tabletop import read, sample_scenes
from diffolio.worlds.tabletop.paraphrase import parse
from diffolio.worlds.tabletop.stacked import MIXTURE, layer_prompts, stacked, told_layers, whole_prompt


def test_layers_add_up_and_show_one_thing_each():
    scenes = sample_scenes(6, 3, MIXTURE)
    stack = stacked(scenes)
    assert stack.images.shape == (6, 3, 3, 64, 64) and stack.masks.shape == (6, 3, 1, 64, 64)
    masks = stack.masks[:, 1:]
    assert float(masks.sum(1).max()) == 1 and bool((stack.masks[:, 0] == 1).all())
    made = (masks * stack.images[:, 1:]).sum(1) + (1 - masks.sum(1)) * stack.images[:, 0]
    assert float((made - stack.pictures).abs().mean()) < 0.004  # the edges' soft pixels
    for i, scene in enumerate(scenes):
        for k, thing in enumerate(scene.things):
            (reading,) = read(stack.images[i, k + 1][None])
            assert [found.colour for found in reading.found] == [thing.colour] and reading.background == "grey"


def test_prompts():
    scene = sample_scenes(1, 3, MIXTURE)[0]
    prompts = layer_prompts(scene)
    assert prompts[0].endswith(f"{scene.background} background") and scene.things[0].kind in prompts[1]
    assert all(parse(whole_prompt(scene, random.Random(i))).relation for i in range(20))
    assert told_layers("a red star left of a blue boat") == ["a white background", "a red star", "a blue boat"]
    assert told_layers("anything", "a table | a ball") == ["a table", "a ball"]
    with pytest.raises(BadInput, match="name them"):
        told_layers("a photograph of a dog")


def test_refused():
    scenes = sample_scenes(2, 3, MIXTURE)
    with pytest.raises(BadInput, match="snow"):
        stacked([replace(scenes[0], style="snow")])
    with pytest.raises(BadInput, match="one number"):
        stacked([scenes[0], replace(scenes[1], things=scenes[1].things[:1], relation=None, subject=0)])
    assert torch.equal(stacked(scenes).masks[:1], stacked(scenes[:1]).masks)
