"""Reading light from pictures: exact on made pictures, and what it must notice."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.geometry.shading import n_dot_l, sun
from diffolio.metrics.light import angle, light_direction, light_psnr, read_shading
from tests.geometry.test_shading import sphere_depth


def ball():
    """A sphere (region 0) on nothing, its normals, and the shading of a sun."""
    depth, normals = sphere_depth(64)
    light = sun(-40.0, 30.0)[None]
    normals = normals.float()
    shading = 0.3 + 0.6 * n_dot_l(normals, light)[:, 0]
    return torch.where(torch.isfinite(depth), 0, -1), normals, light, shading


def painted(shading, colour=(0.9, 0.5, 0.2)):
    return shading[:, None] * torch.tensor(colour).view(1, 3, 1, 1)


def test_the_shading_of_one_albedo_is_read_exactly():
    regions, _, _, shading = ball()
    read = read_shading(painted(shading), regions, shading)
    torch.testing.assert_close(read[regions == 0], shading[regions == 0])
    assert torch.isnan(read[regions < 0]).all()
    assert light_psnr(painted(shading), regions, shading).item() > 80
    torch.testing.assert_close(
        light_psnr(painted(shading, (0.1, 0.2, 0.9)), regions, shading), light_psnr(painted(shading), regions, shading)
    )


def test_a_missing_shadow_costs():
    regions, _, _, shading = ball()
    shadowed = shading.clone()
    shadowed[:, 30:40] *= 0.3
    assert light_psnr(painted(shading), regions, shadowed) < 25
    assert light_psnr(painted(shadowed), regions, shadowed) > 80


def test_the_lights_direction():
    regions, normals, light, shading = ball()
    lit = (n_dot_l(normals, light)[:, 0] > 0.02) & (regions == 0)
    found = light_direction(painted(shading), regions, normals, lit)
    assert angle(found, light).item() < 1
    assert angle(found, sun(40.0, 30.0)[None]).item() > 50
    flat = light_direction(painted(shading), torch.full_like(regions, -1), normals, lit)
    assert torch.isnan(flat).all(), "nothing bends"
    with pytest.raises(BadInput, match="equal shapes"):
        angle(found, found[0])
