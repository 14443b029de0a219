"""Errors of mattes against what they must be by hand."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.metrics.matting import matte_errors


def disc(radius=10.0, soft=1.0):
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    return (0.5 - (torch.hypot(x - 24, y - 24) - radius) / soft).clamp(0, 1)[None, None]


def test_equal_mattes_have_no_error():
    assert all(float(value) == 0 for value in matte_errors(disc(), disc()).values())


def test_sad_and_mse():
    found = matte_errors(torch.full((1, 1, 48, 48), 0.25), torch.zeros(1, 1, 48, 48))
    assert float(found["sad"]) == pytest.approx(48 * 48 * 0.25 / 1000) and float(found["mse"]) == pytest.approx(0.0625)


def test_a_softer_edge_is_an_error_of_the_gradient_and_an_offset_none():
    soft, flat = matte_errors(disc(soft=8.0), disc()), matte_errors(disc() * 0 + 0.3, disc() * 0)
    assert float(soft["gradient"]) > 0.01 and float(flat["gradient"]) < 1e-9


def test_an_island_is_an_error_of_connectivity():
    island = disc()
    island[..., 2:6, 2:6] = 1
    assert float(matte_errors(island, disc())["connectivity"]) == pytest.approx(16 / 1000)
    half = disc()
    half[..., 2:6, 2:6] = 0.1  # faint ones are overlooked
    assert float(matte_errors(half, disc())["connectivity"]) == 0


def test_refused():
    with pytest.raises(BadInput, match="shapes"):
        matte_errors(disc(), disc()[..., :-1])
