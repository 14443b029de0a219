"""Tabletop pictures in layers: the true alpha composes them, edges are soft, glass lets the table through."""

from dataclasses import replace

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.worlds.tabletop import Scene, Thing, alpha, render, sample_scenes
from diffolio.worlds.tabletop.mattes import MIXTURE, coverage, layers


def test_picture_is_foreground_over_background():
    drawn = layers(sample_scenes(6, 980_100, MIXTURE))
    over = drawn.alpha * drawn.foreground + (1 - drawn.alpha) * drawn.background
    torch.testing.assert_close(drawn.images, over, atol=1e-5, rtol=0)
    assert float(drawn.alpha.min()) >= 0 and float(drawn.alpha.max()) <= 1


def test_a_crisp_edge_is_the_renderers_own():
    thing = Thing("star", "red", 0.4, 0.6, 0.5, 20.0)
    torch.testing.assert_close(coverage(thing, 64, 1.0), alpha(Scene((thing,)), 0), atol=1e-5, rtol=0)
    soft = coverage(thing, 64, 5.0)
    assert int(((soft > 0.05) & (soft < 0.95)).sum()) > 2 * int(((alpha(Scene((thing,)), 0) % 1) > 0.05).sum() * 0.5)
    assert int((soft > 0.5).sum()) == int((coverage(thing, 64, 1.0) > 0.5).sum())  # the outline stays where it is


def test_some_discs_are_of_glass():
    scene = Scene((Thing("circle", "red"),))
    tops = [float(layers([replace(scene, seed=seed)]).alpha.max()) for seed in range(12)]
    assert any(top < 0.85 for top in tops) and any(top > 0.99 for top in tops)
    other = [float(layers([Scene((Thing("square", "red"),), seed=seed)]).alpha.max()) for seed in range(4)]
    assert min(other) > 0.99


def test_any_size_and_styles_that_hide_things_are_refused():
    scenes = sample_scenes(2, 980_200, MIXTURE)
    assert layers(scenes, 96).images.shape == (2, 3, 96, 96)
    plain = replace(scenes[0], texture="plain")
    assert float((layers([plain]).images - render([plain]).images).abs().mean()) < 0.05
    with pytest.raises(BadInput, match="snow"):
        layers([replace(scenes[0], style="snow")])
