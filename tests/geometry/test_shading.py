"""Light on depth maps: axes by a sphere and a plane, the volume's split, rays against closed forms."""

import math

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.geometry.shading import FOCAL, Planes, check_depth, march, n_dot_l, normals_of, points_of, sun


def sphere_depth(size=64, distance=4.0, radius=1.0):
    """Depth of a sphere straight ahead, and its true normals in view axes."""
    points = points_of(torch.ones(1, size, size, dtype=torch.float64))
    way = points / points.norm(dim=1, keepdim=True)
    centre = torch.tensor([0.0, 0.0, -distance], dtype=torch.float64).view(1, 3, 1, 1)
    along = (way * centre).sum(1)
    square = along**2 - distance**2 + radius**2
    t = along - square.clamp_min(0).sqrt()
    hit = square > 0
    normals = (way * t[:, None] - centre) / radius
    return torch.where(hit, -way[:, 2] * t, torch.inf), torch.where(hit[:, None], normals, 0.0)


def test_the_suns_axes():
    torch.testing.assert_close(sun(0.0, 1e-4), torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)  # behind the camera
    torch.testing.assert_close(sun(90.0, 1e-4), torch.tensor([1.0, 0.0, 0.0]), atol=1e-5, rtol=0)  # to the right
    torch.testing.assert_close(sun(30.0, 90.0), torch.tensor([0.0, 1.0, 0.0]), atol=1e-5, rtol=0)  # above
    # A camera that looks down by p sees the zenith leaning towards itself.
    leant = torch.tensor([0.0, math.cos(math.radians(20)), math.sin(math.radians(20))])
    torch.testing.assert_close(sun(0.0, 90.0, 20.0), leant, atol=1e-5, rtol=0)


@pytest.mark.parametrize("elevation", [0.0, -10.0, 91.0])
def test_a_sun_below_the_horizon_is_refused(elevation):
    with pytest.raises(BadInput, match="above the horizon"):
        sun(0.0, elevation)


def test_normals_of_a_sphere_have_the_stated_handedness():
    depth, true = sphere_depth(128)
    found = normals_of(depth)
    inner = torch.nn.functional.max_pool2d((~torch.isfinite(depth)).double()[:, None], 5, 1, 2)[:, 0] == 0
    cosine = (found * true).sum(1)[inner]
    assert cosine.median() > 0.9995 and cosine.min() > 0.95
    assert found[0, 2, 64, 64] > 0.99, "towards the camera"
    assert found[0, 0, 64, 80] > 0.2, "the right side faces right"
    assert found[0, 1, 48, 64] > 0.2, "the upper side faces up"
    assert not found[0, :, 0, 0].any(), "sky has no normal"


def test_points_are_the_papers():
    depth = torch.full((1, 8, 8), 3.0)
    point = points_of(depth)[0, :, 1, 6]
    focal = FOCAL * 8
    torch.testing.assert_close(point, torch.tensor([2.5 * 3 / focal, 2.5 * 3 / focal, -3.0]))


def test_n_dot_l_is_clamped():
    normals = torch.tensor([0.0, 0.6, 0.8]).view(1, 3, 1, 1)
    assert n_dot_l(normals, torch.tensor([[0.0, 1.0, 0.0]])).item() == pytest.approx(0.6)
    assert n_dot_l(normals, torch.tensor([[0.0, -1.0, 0.0]])).item() == 0


def test_depth_is_split_linearly_between_the_two_nearest_planes():
    planes = Planes(torch.tensor([2.0]), count=5, ratio=16.0)  # at 2, 4, 8, 16, 32
    depth = torch.tensor([[[2.0, 4.0 * 2**0.25, 40.0, torch.inf]]])
    weights = planes.weights(depth)[0, :, 0].T
    torch.testing.assert_close(weights[0], torch.tensor([1.0, 0, 0, 0, 0]))
    torch.testing.assert_close(weights[1], torch.tensor([0.0, 0.75, 0.25, 0, 0]))
    assert weights[2, 4] == pytest.approx(1 - math.log(1.25) / math.log(2), abs=1e-5)
    assert not weights[3].any()


def test_the_expected_place_of_an_opaque_plane_is_its_own():
    planes, density = Planes(torch.tensor([1.0]), count=6), torch.zeros(1, 1, 6, 1, 1)
    density[:, :, 3] = 1e4
    assert planes.expected(density).item() == pytest.approx(3)
    assert planes.expected(torch.zeros_like(density)).item() == 5, "what meets nothing ends on the last plane"


def test_a_ray_through_uniform_density_follows_beer_and_lambert():
    depth = torch.full((1, 16, 16), 1.6)
    planes = Planes(torch.tensor([1.0]), count=9, ratio=3.0)
    density = torch.full((1, 1, 9, 8, 8), 0.7, dtype=torch.float32)
    seen = march(density, planes, depth, torch.tensor([[0.0, 0.0, 1.0]]), reach=0.4, start=0.0, steps=8)
    torch.testing.assert_close(seen[0, 0, 8, 8], torch.tensor(math.exp(-0.7 * 0.4)))
    assert march(0 * density, planes, depth, torch.tensor([[0.0, 1.0, 0.0]])).eq(1).all()


def test_a_block_hides_the_sun_on_the_side_that_it_stands_on():
    """A block right of the middle and nearer than the wall behind: light from the right casts its shadow to the left."""
    depth = torch.full((1, 32, 32), 1.8)
    planes = Planes(torch.tensor([1.0]), count=12, ratio=2.2)
    density = torch.zeros(1, 1, 12, 32, 32)
    density[..., 5:9, 8:24, 18:22] = 100.0
    light = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0, 1.0]]), dim=-1)
    seen = march(density, planes, depth, light, reach=1.2, steps=40)[0, 0, 16]
    assert seen[4:14].min() < 0.1 and seen[24:].min() > 0.99
    flipped = march(density.flip(-1), planes, depth, light * torch.tensor([-1.0, 1.0, 1.0]), reach=1.2, steps=40)[0, 0, 16]
    torch.testing.assert_close(flipped.flip(0), seen, atol=1e-4, rtol=1e-4)
    soft = march(density, planes, depth, light, reach=1.2, steps=40, spread=8.0, rays=9)[0, 0, 16]
    assert ((soft > 0.05) & (soft < 0.95)).sum() > ((seen > 0.05) & (seen < 0.95)).sum(), "a wide sun has a penumbra"


def test_gradients_reach_the_density_and_scale_does_not_matter():
    depth = 1.5 + torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    density = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    light = sun(40.0, 50.0)[None]
    seen = march(density, Planes.of(depth, 8), depth, light)
    seen.mean().backward()
    assert density.grad.abs().sum() > 0
    larger = march(density, Planes.of(7 * depth, 8), 7 * depth, light)
    torch.testing.assert_close(larger, seen, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, -1.0, torch.nan])
def test_depth_that_says_nothing_is_refused(value):
    depth = torch.ones(1, 8, 8)
    depth[0, 2, 3] = value
    with pytest.raises(BadInput, match="1 pixels"):
        check_depth(depth)
    with pytest.raises(BadInput, match="nothing to light"):
        check_depth(torch.full((1, 8, 8), torch.inf))
