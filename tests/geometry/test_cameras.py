import math

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.geometry.cameras import (
    Camera,
    cat,
    equirectangular_directions,
    equirectangular_pixels,
    from_opengl,
    intrinsics,
    inverse_pose,
    look_at,
    on_sphere,
    orbit,
    panorama,
    pixel_centres,
    to_opengl,
)

ORBIT = orbit([0.0, 50.0, 170.0, 290.0], [10.0, 35.0, -20.0, 0.0], 3.0, fovy=45, size=(24, 32), target=(0.1, 0.4, -0.2))
PANORAMA = panorama([[0.0, 1.0, 0.0], [1.0, 0.5, -2.0]], heading=30, height=20)


def test_axes_are_those_of_opencv():
    front = orbit(0.0, 0.0, 2.0, size=64)
    assert torch.allclose(front.centre, torch.tensor([[0.0, 0.0, 2.0]]))
    assert torch.allclose(front.forward, torch.tensor([[0.0, 0.0, -1.0]]))
    right_of_middle = front.project(torch.tensor([[[0.5, 0.0, 0.0]]]))[0][0, 0]
    above_middle = front.project(torch.tensor([[[0.0, 0.5, 0.0]]]))[0][0, 0]
    assert right_of_middle[0] > 32 and right_of_middle[1] == pytest.approx(32)
    assert above_middle[1] < 32 and above_middle[0] == pytest.approx(32)


def test_an_orbit_goes_to_the_right_and_up():
    assert orbit(90.0, 0.0, 2.0).centre[0].tolist() == pytest.approx([2.0, 0.0, 0.0], abs=1e-6)
    assert orbit(0.0, 60.0, 2.0).centre[0, 1].item() == pytest.approx(2 * math.sin(math.radians(60)))


@pytest.mark.parametrize("camera", [ORBIT, PANORAMA], ids=["perspective", "equirectangular"])
def test_what_is_unprojected_projects_to_where_it_was(camera):
    depth = torch.rand(len(camera), camera.height, camera.width, generator=torch.Generator().manual_seed(0)) * 4 + 0.5
    pixels, again = camera.project(camera.unproject(depth))
    assert torch.allclose(pixels, pixel_centres(camera.height, camera.width).expand_as(pixels), atol=2e-4)
    assert torch.allclose(again, depth, atol=1e-5)


def test_the_field_of_view_is_that_from_top_to_bottom():
    camera = Camera(torch.eye(4)[None], intrinsics(50, 40, 60)[None], 40, 60)
    _, direction = camera.rays(torch.tensor([[[30.0, 0.0], [30.0, 40.0]]]))
    top, bottom = torch.nn.functional.normalize(direction[0], dim=-1)
    assert math.degrees(math.acos(float(top @ bottom))) == pytest.approx(50, abs=1e-3)


def test_poses_are_rigid_and_invert():
    rotation = ORBIT.world_to_camera[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand(4, 3, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(4), atol=1e-6)
    assert torch.allclose(inverse_pose(ORBIT.world_to_camera), torch.linalg.inv(ORBIT.world_to_camera), atol=1e-5)
    relative = ORBIT[1:2].relative_to(ORBIT[0:1])
    point = torch.tensor([[[0.3, 0.2, 0.1]]])
    moved = torch.einsum("bij,bnj->bni", relative[:, :3, :3], ORBIT[0].to_camera(point)) + relative[:, None, :3, 3]
    assert torch.allclose(moved, ORBIT[1].to_camera(point), atol=1e-5)


def test_opengl_looks_along_minus_z_and_comes_back():
    opengl = to_opengl(ORBIT.world_to_camera)
    assert torch.allclose(-opengl[:, :3, 2], ORBIT.forward, atol=1e-6)
    assert torch.allclose(opengl[:, :3, 3], ORBIT.centre, atol=1e-5)
    assert (opengl[:, 1, 1] > 0).all()
    assert torch.allclose(from_opengl(opengl), ORBIT.world_to_camera, atol=1e-5)


def test_plucker_lines_hold_their_points():
    line = ORBIT.plucker()
    moment, direction = line[:, :3].permute(0, 2, 3, 1), line[:, 3:].permute(0, 2, 3, 1)
    points = ORBIT.unproject(torch.full((4, 24, 32), 1.7))
    assert torch.allclose(torch.linalg.cross(points, direction), moment, atol=1e-5)
    assert torch.allclose(direction.norm(dim=-1), torch.ones(4, 24, 32), atol=1e-6)


def test_resizing_keeps_the_view():
    large = ORBIT.resized(48, 64)
    point = torch.tensor([[[0.3, 0.2, 0.1]]]).expand(4, 1, 3)
    assert torch.allclose(large.project(point)[0], 2 * ORBIT.project(point)[0], atol=1e-4)
    assert PANORAMA.resized(40, 80).rays()[1].shape == (2, 40, 80, 3)


def test_equirectangular_directions_wrap_and_reach_the_poles():
    left, right = equirectangular_directions(torch.tensor([[0.0, 7.0], [40.0, 7.0]]), 20, 40)
    assert torch.allclose(left, right, atol=1e-6)
    up = equirectangular_directions(torch.tensor([3.0, 0.0]), 20, 40)
    assert torch.allclose(up, torch.tensor([0.0, -1.0, 0.0]), atol=1e-6)
    ahead = equirectangular_directions(torch.tensor([20.0, 10.0]), 20, 40)
    assert torch.allclose(ahead, torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)
    assert equirectangular_pixels(3 * ahead, 20, 40).tolist() == pytest.approx([20.0, 10.0])


def test_a_heading_turns_a_panorama_to_the_right():
    point = torch.tensor([[[0.0, 1.0, -2.0]]])
    assert panorama(heading=0, height=16).project(point)[0][0, 0].tolist() == pytest.approx([16.0, 8.0], abs=1e-4)
    assert panorama(heading=90, height=16).project(point)[0][0, 0].tolist() == pytest.approx([8.0, 8.0], abs=1e-4)


def test_batches_are_cut_and_joined():
    joined = cat([ORBIT[2], ORBIT[:2]])
    assert len(joined) == 3
    assert torch.equal(joined.world_to_camera[0], ORBIT.world_to_camera[2])
    assert [len(c) for c in ORBIT] == [1, 1, 1, 1]
    with pytest.raises(BadInput, match="resized"):
        cat([ORBIT, ORBIT.resized(8, 8)])


def test_what_makes_no_camera_is_refused():
    with pytest.raises(BadInput, match="up"):
        look_at(torch.tensor([[0.0, 3.0, 0.0]]), torch.zeros(3))
    with pytest.raises(BadInput, match="stands on"):
        look_at(torch.zeros(1, 3), torch.zeros(3))
    with pytest.raises(BadInput, match="elevations"):
        orbit(0.0, 90.0)
    with pytest.raises(BadInput, match="radi"):
        orbit(0.0, radius=0.0)
    with pytest.raises(BadInput, match="field of view"):
        intrinsics(180, 64, 64)
    with pytest.raises(BadInput, match="pose"):
        Camera(torch.eye(4), None, 8, 8)
    with pytest.raises(BadInput, match="intrinsics"):
        Camera(torch.eye(4)[None], torch.eye(3), 8, 8)


def test_unit_vectors_point_where_they_should():
    assert on_sphere(torch.tensor(90.0), torch.tensor(0.0)).tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    assert on_sphere(torch.tensor(12.0), torch.tensor(90.0)).tolist() == pytest.approx([0, 1, 0], abs=1e-6)
