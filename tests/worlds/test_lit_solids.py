"""Scenes of solids under two suns: the light's axes fit the shading, only light differs, and the first do not depend on how many."""

import torch

from diffolio.geometry.shading import n_dot_l
from diffolio.worlds.solids import render
from diffolio.worlds.solids.lit import lit_scenes


def test_shading_is_n_dot_l_where_no_shadow_falls_and_zero_where_one_does():
    data = lit_scenes(6, 991_000, 48)
    drawn = render(data.scenes, size=48, samples=1)
    exact = torch.einsum("bij,bjhw->bihw", drawn.cameras.world_to_camera[:, :3, :3], drawn.normals)
    exact = exact * torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1)
    facing, direct = n_dot_l(exact, data.light[:, 0]), data.direct[:, 0].float() / 255
    free = drawn.hit & ~drawn.shadow
    assert ((facing - direct).abs()[:, 0][free] < 3e-3).all()
    assert (direct[:, 0][drawn.shadow] == 0).all() and drawn.shadow.any()
    assert (data.light.norm(dim=-1) - 1).abs().max() < 1e-5


def test_only_the_light_differs_and_the_picture_is_albedo_times_light():
    data = lit_scenes(4, 991_001, 32)
    assert not torch.equal(data.rgb[:, 0], data.rgb[:, 1])
    light = data.ambient.float()[:, None] + data.strength.view(-1, 1, 1, 1, 1) * data.direct.float() / 255
    made = data.albedo.float()[:, None] * light
    assert (made - data.rgb.float()).abs().median() < 3, "but for highlights and smoothed edges"


def test_the_first_scenes_do_not_depend_on_how_many():
    few, many = lit_scenes(2, 991_002, 32), lit_scenes(5, 991_002, 32)
    assert torch.equal(few.rgb, many.rgb[:2]) and torch.equal(few.light, many.light[:2])
    assert all(scene.setting != "room" for scene in many.scenes)
