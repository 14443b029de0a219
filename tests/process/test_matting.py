"""Mattes by colour, colours under a matte, and what is no matte."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.process.matting import check_matte, estimate_foreground, two_colour_matte


def scene():
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    alpha = (1 - (torch.hypot(x - 15.5, y - 15.5) - 8) / 4).clamp(0, 1)[None, None]
    front, back = (torch.tensor(rgb).view(1, 3, 1, 1) for rgb in ((0.9, 0.2, 0.1), (0.8, 0.9, 0.95)))
    return alpha * front + (1 - alpha) * back, alpha, front


def test_two_colours_are_told_apart_exactly():
    images, alpha, _ = scene()
    torch.testing.assert_close(two_colour_matte(images), alpha, atol=0.02, rtol=0)
    assert float(two_colour_matte(torch.full((1, 3, 16, 16), 0.5)).max()) == 0  # nothing stands out


def test_the_colours_of_the_foreground_where_it_is_half_transparent():
    images, alpha, front = scene()
    found, half = estimate_foreground(images, alpha), ((alpha > 0.2) & (alpha < 0.8)).expand(-1, 3, -1, -1)
    true = front.expand_as(images)
    assert float((found - true)[half].abs().mean()) < 0.3 * float((images - true)[half].abs().mean())


def test_mattes_of_every_shape_and_those_refused():
    for shape in ((8, 8), (2, 8, 8), (2, 1, 8, 8), (2, 3, 8, 8)):
        assert check_matte(torch.full(shape, 0.5)).shape == (2 if len(shape) > 2 else 1, 1, 8, 8)
    assert check_matte(torch.ones(8, 8, dtype=torch.bool)).dtype == torch.float32
    for bad, words in (
        (torch.full((8, 8), 1.5), "lies in"),
        (torch.rand(1, 3, 8, 8), "differ"),
        (torch.rand(1, 2, 8, 8), "shape"),
    ):
        with pytest.raises(BadInput, match=words):
            check_matte(bad)
