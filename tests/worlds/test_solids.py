import math
import random

import numpy as np
import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.geometry.cameras import orbit, panorama
from diffolio.worlds.solids import (
    FLOOR,
    KIND_NAMES,
    NOTHING,
    WALL,
    Light,
    Mixture,
    Scene,
    Solid,
    caption,
    describe,
    render,
    sample_rooms,
    sample_scenes,
    seen_from,
    standard_camera,
    views,
    vocabulary,
)
from diffolio.worlds.solids.shapes import (
    BOUND,
    BOX,
    CONE_HALF,
    CONE_SLOPE,
    CYLINDER_HALF,
    CYLINDER_RADIUS,
    INTERSECT,
    NORMAL,
    TORUS_MAJOR,
    TORUS_MINOR,
    lowest,
)
from diffolio.worlds.solids.surface import albedo
from diffolio.worlds.solids.trace import pack, trace

INSIDE = {
    "sphere": lambda p: p.norm(dim=-1) - 1,
    "box": lambda p: p.abs().amax(-1) - BOX,
    "cylinder": lambda p: torch.maximum(p[..., 1].abs() - CYLINDER_HALF, p[..., [0, 2]].norm(dim=-1) - CYLINDER_RADIUS),
    "cone": lambda p: torch.maximum(
        p[..., 1].abs() - CONE_HALF, p[..., [0, 2]].norm(dim=-1) - CONE_SLOPE * (CONE_HALF - p[..., 1])
    ),
    "torus": lambda p: torch.hypot(p[..., [0, 2]].norm(dim=-1) - TORUS_MAJOR, p[..., 1]) - TORUS_MINOR,
}
SCENES = sample_scenes(24, 3)


def rays(n=4000):
    """Rays from outside through a ball that is somewhat larger than the bodies, nearest to its middle at distance 0."""
    g = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=-1)
    through = torch.randn(n, 3, generator=g) * 0.6
    return through - (through * direction).sum(-1, keepdim=True) * direction, direction


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_rays_meet_bodies_where_dense_sampling_finds_them(kind):
    origin, direction = rays()
    t = INTERSECT[kind](origin, direction, torch.full((len(origin),), -5.0))
    steps = torch.linspace(-2, 2, 801)
    inside = INSIDE[kind](origin[:, None] + steps[:, None] * direction[:, None]) < 0
    found = inside.any(1)
    first = steps[inside.int().argmax(1)]
    hit = torch.isfinite(t)
    assert 0.2 < hit.float().mean() < 0.95
    assert (found & ~hit).float().mean() < 5e-4
    assert (hit & ~found).float().mean() < 0.01  # thinner than a step
    both = hit & found
    assert ((first - t)[both] > -1e-4).all() and ((first - t)[both] < 0.0051).float().mean() > 0.99
    point = (origin + t[:, None] * direction)[hit]
    assert INSIDE[kind](point).abs().max() < 1e-3
    assert INSIDE[kind](point).abs().mean() < 1e-5
    assert point.norm(dim=-1).max() <= BOUND[kind] + 1e-3


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_normals_are_the_gradient_of_the_surface_and_face_the_ray(kind):
    origin, direction = rays()
    t = INTERSECT[kind](origin, direction, torch.full((len(origin),), -5.0))
    point = (origin + t[:, None] * direction)[torch.isfinite(t)].requires_grad_()
    (gradient,) = torch.autograd.grad(INSIDE[kind](point).sum(), point)
    cosine = (torch.nn.functional.normalize(gradient, dim=-1) * NORMAL[kind](point)).sum(-1)
    assert (cosine > 0.999).float().mean() > 0.995
    assert ((NORMAL[kind](point) * direction[torch.isfinite(t)]).sum(-1) < 1e-2).float().mean() > 0.999


def test_the_torus_agrees_with_its_quartic():
    origin, direction = rays(300)
    t = INTERSECT["torus"](origin, direction, torch.full((300,), -5.0)).double().numpy()
    o, d = origin.double().numpy(), direction.double().numpy()
    for i in range(300):
        along, square = o[i] @ d[i], o[i] @ o[i] + TORUS_MAJOR**2 - TORUS_MINOR**2
        level = 4 * TORUS_MAJOR**2
        flat = np.polymul([d[i, 0], o[i, 0]], [d[i, 0], o[i, 0]]) + np.polymul([d[i, 2], o[i, 2]], [d[i, 2], o[i, 2]])
        quartic = np.polysub(np.polymul([1, 2 * along, square], [1, 2 * along, square]), level * flat)
        roots = np.roots(quartic)
        real = sorted(r.real for r in roots if abs(r.imag) < 1e-7)
        if real and real[-1] - real[0] > 0.05:
            assert t[i] == pytest.approx(real[0], abs=2e-3)
        elif not real:
            assert not np.isfinite(t[i]) or min(abs(roots.imag)) < 0.05


def test_depth_is_exact():
    ball = Scene((Solid("sphere", "red", y=0.5, size=0.5),), "void")
    drawn = render(ball, orbit(0, 0, 3.0, size=65, target=(0, 0.5, 0)))
    assert drawn.depth[0, 32, 32] == pytest.approx(2.5, abs=1e-5)
    assert drawn.normals[0, :, 32, 32].tolist() == pytest.approx([0, 0, 1], abs=1e-5)
    assert drawn.camera_normals[0, :, 32, 32].tolist() == pytest.approx([0, 0, -1], abs=1e-5)
    points = drawn.cameras.unproject(drawn.depth)[drawn.ids == 0]
    assert ((points - torch.tensor([0, 0.5, 0])).norm(dim=-1) - 0.5).abs().max() < 1e-4
    assert torch.isinf(drawn.depth[drawn.ids == NOTHING]).all()
    floor = render(Scene((), texture="checked"), size=32)
    points = floor.cameras.unproject(floor.depth)[floor.ids == FLOOR]
    assert points[:, 1].abs().max() < 1e-3


def test_two_views_agree_on_every_point():
    landed = []
    for scene in SCENES[:8]:
        seen = views(scene, 3, size=96)
        world = pack([scene])
        origin = seen.cameras.centre
        for a, b in ((0, 1), (1, 2), (2, 0)):
            on_solid = seen.ids[a] >= 0
            points = seen.cameras[a].unproject(seen.depth[a : a + 1])[0][on_solid]
            way = points - origin[b]
            far = way.norm(dim=-1)
            hits = trace(world, torch.zeros(len(points), dtype=torch.long), origin[b].expand_as(points), way / far[:, None])
            seen_flat = (way / far[:, None] * seen.normals[a][:, on_solid].T).sum(-1).abs() < 0.1
            assert (hits.t - far)[~seen_flat].max() < 5e-3  # nothing is seen behind a point that is there
            visible = (hits.t - far).abs() < 5e-3
            assert (hits.owner == seen.ids[a][on_solid])[visible].float().mean() > 0.995
            colour = albedo(world, torch.zeros(len(points), dtype=torch.long), way, hits)
            change = (colour - seen.albedo[a][:, on_solid].T).abs().amax(-1)
            assert (change[visible] < 1e-3).float().mean() > 0.98
            # And where the point lands in the picture, the same thing is seen at the same depth, but for edges.
            pixels, depth = seen.cameras[b : b + 1].project(points[None])
            column, row = pixels[0].floor().long().clamp(0, 95).unbind(-1)
            near = (seen.depth[b][row, column] - depth[0]).abs() < 0.15
            landed.append((near & (seen.ids[b][row, column] == seen.ids[a][on_solid]))[visible])
    assert torch.cat(landed).float().mean() > 0.8


def test_normals_are_gradients_of_depth():
    drawn = render(SCENES, size=128, samples=1)
    points = drawn.cameras.unproject(torch.where(drawn.hit, drawn.depth, 1.0))
    across = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    down = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    measured = torch.nn.functional.normalize(torch.linalg.cross(down, across), dim=-1)
    normals = drawn.normals.permute(0, 2, 3, 1)
    ids = drawn.ids[:, 1:-1, 1:-1]
    smooth = ids >= 0
    for shift in ((0, 1), (2, 1), (1, 0), (1, 2)):
        at = np.s_[:, shift[0] : shift[0] + 126, shift[1] : shift[1] + 126]
        smooth &= (drawn.ids[at] == ids) & ((normals[at] * normals[:, 1:-1, 1:-1]).sum(-1) > 0.98)
    cosine = (measured * normals[:, 1:-1, 1:-1]).sum(-1)[smooth]
    assert len(cosine) > 10000
    assert (cosine > math.cos(math.radians(5))).float().mean() > 0.995


def test_pictures_are_albedo_times_shading_plus_highlights():
    drawn = render(SCENES, samples=1)
    assert torch.allclose(drawn.rgb, (drawn.albedo * drawn.shading + drawn.specular).clamp(0, 1), atol=1e-6)
    assert (drawn.shading - drawn.direct).min() > 0.2
    assert (drawn.specular.amax((1, 2, 3)) > 0.05).any()
    nothing = ~drawn.hit
    assert (drawn.shading[:, 0][nothing] == 1).all() and (drawn.normals.movedim(1, -1)[nothing] == 0).all()
    lengths = drawn.normals.norm(dim=1)[drawn.hit]
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-4)


def test_a_shadow_falls_where_the_light_says():
    light = Light(90, 45)  # from +x: the shadow falls towards -x
    scene = Scene((Solid("sphere", "red", y=1.0, size=0.4),), lights=(light,))
    drawn = render(scene, orbit(0, 60, 6.0, size=96), samples=1)
    points = drawn.cameras.unproject(drawn.depth)[0]
    dark = drawn.shadow[0] & (drawn.ids[0] == FLOOR)
    middle = points[dark].mean(0)
    assert middle[0].item() == pytest.approx(-1.0, abs=0.1)
    assert middle[2].item() == pytest.approx(0.0, abs=0.1)
    # A ray from each floor point to the light passes the ball, or it does not: exactly those are dark.
    floor = drawn.ids[0] == FLOOR
    way = torch.tensor(light.direction)
    offset = points[floor] - torch.tensor([0, 1.0, 0])
    passes = (offset - (offset @ way)[:, None] * way).norm(dim=-1) < 0.4
    assert (passes != drawn.shadow[0][floor]).float().mean() < 0.002
    assert (drawn.direct[0, 0][drawn.shadow[0]] == 0).all()


def test_lamps_and_several_lights():
    scene = Scene((Solid("box", "blue"),), lights=(Light(0, 45, strength=0.3), Light(120, 30, 4.0, 0.2)))
    both = render(scene, samples=1).direct
    first = render(scene.change(lights=scene.lights[:1]), samples=1).direct
    second = render(scene.change(lights=scene.lights[1:]), samples=1).direct
    assert torch.allclose(both, first + second, atol=1e-6)
    assert second[0, 0, 60].std() > first[0, 0, 60].std()  # a near lamp lights the floor unevenly


def test_panoramas_wrap_and_agree_with_pinholes():
    scenes = sample_rooms(2, 1)
    ahead, back = (render(scenes, panorama((0.0, 1.2, 0.0), heading=h, height=32), samples=1) for h in (0, 180))
    turned = back.ids.roll(32, -1)
    assert (turned == ahead.ids).float().mean() > 0.998
    assert (back.rgb.roll(32, -1) - ahead.rgb).abs().mean() < 1e-3
    assert set(ahead.ids.unique().tolist()) == {-3, WALL, FLOOR, 0, 1, 2, 3, 4}
    seam, usual = (ahead.depth[..., 0] - ahead.depth[..., -1]).abs().median(), ahead.depth.diff(dim=-1).abs().median()
    assert seam < 4 * usual + 0.02
    pinhole = render(scenes, orbit(0, 0.001, 1.0, fovy=60, size=33, target=(0.0, 1.2, -1.0)), samples=1)
    points = pinhole.cameras.unproject(pinhole.depth)
    pixels, distance = ahead.cameras.project(points)
    column, row = pixels.floor().long().unbind(-1)
    at = torch.arange(2)[:, None, None].expand_as(row), row.clamp(0, 31), column % 64
    same = ahead.ids[at] == pinhole.ids
    assert same.float().mean() > 0.9
    assert ((ahead.depth[at] - distance).abs() / distance)[same].median() < 0.03


def test_masks_and_twins():
    scene = next(s for s in SCENES if len(s.solids) == 2 and s.relation in ("in front of", "behind"))
    drawn = render(scene)
    assert (drawn.visible & ~drawn.full).sum() == 0
    assert drawn.visible.sum(1).max() == 1
    assert ((drawn.ids >= 0) == drawn.visible.any(1)).all()
    assert torch.equal(drawn.alpha[:, 0] > 0, drawn.visible.any(1))
    assert drawn.full.sum() > drawn.visible.sum()
    twin = scene.change(0, colour=next(c for c in ("red", "blue", "green") if c not in {s.colour for s in scene.solids}))
    other = render(twin)
    assert torch.equal(other.depth, drawn.depth) and torch.equal(other.shading, drawn.shading)
    apart = ~torch.nn.functional.max_pool2d(drawn.visible[:, :1].float(), 3, 1, 1).bool()
    assert torch.equal(other.rgb * apart, drawn.rgb * apart)
    assert twin.solids[0].colour in describe(twin)
    gone = render(scene.without(0), samples=1)
    assert torch.equal(gone.full[:, 0], drawn.full[:, 1])


def test_anti_aliasing_is_the_mean_of_a_larger_picture():
    camera = standard_camera(48)
    smooth, large = render(SCENES, camera, samples=4).rgb, render(SCENES, camera, 192, samples=1).rgb
    hard = render(SCENES, camera, samples=1).rgb
    pooled = torch.nn.functional.avg_pool2d(large, 4)
    assert (smooth - pooled).abs().mean() < 0.004
    assert (smooth - pooled).abs().mean() < 0.4 * (hard - pooled).abs().mean()


def test_views_do_not_depend_on_their_batch_and_any_size():
    together = render(SCENES[:5], orbit([0, 30, 60, 90, 120], size=(24, 40)))
    alone = render(SCENES[3], orbit(90, size=(24, 40)))
    assert together.rgb.shape == (5, 3, 24, 40)
    assert torch.allclose(alone.rgb[0], together.rgb[3], atol=1e-5)
    assert torch.equal(alone.ids[0], together.ids[3])
    assert len(views(SCENES[0], 4, size=16).rgb) == 4


def test_bodies_stand_on_the_ground_and_do_not_meet():
    for scene in sample_scenes(300, 5):
        for solid in scene.solids:
            assert solid.centre[1] - lowest(solid.kind, solid.rotation) * solid.size > -1e-6 or not solid.standing
    leaning = Solid("box", "red", tilt=30, yaw=20)
    corners = torch.tensor([[x, y, z] for x in (-BOX, BOX) for y in (-BOX, BOX) for z in (-BOX, BOX)])
    heights = (corners @ torch.tensor(leaning.rotation).T)[:, 1] * leaning.size + leaning.centre[1]
    assert heights.min().item() == pytest.approx(0, abs=1e-6)


def test_scenes_come_from_their_seed_and_captions_are_true():
    scenes = sample_scenes(200, 6, Mixture(counts=(0, 1, 0)))
    assert scenes[:30] == sample_scenes(30, 6, Mixture(counts=(0, 1, 0)))
    words = set(vocabulary())
    drawn = render(scenes, samples=1)
    share = drawn.visible.sum((2, 3)) / drawn.full.sum((2, 3))
    assert (share > 0.15).float().mean() > 0.97
    for scene in scenes:
        assert set(scene.caption.replace(",", " ,").split()) <= words
        assert all(solid.kind in scene.caption.split() for solid in scene.solids)
        a, b = (solid.centre for solid in scene.solids)
        truth = {
            "left of": b[0] - a[0],
            "right of": a[0] - b[0],
            "in front of": a[2] - b[2],
            "behind": b[2] - a[2],
            "above": a[1] - b[1],
        }
        assert max(truth, key=truth.get) == scene.relation
    assert describe(Scene((Solid("cone", "orange", texture="striped"),))) == "a striped orange cone on a grey floor"
    assert caption(scenes[0], random.Random(1)) == caption(scenes[0], random.Random(1))
    assert [seen_from(a) for a in (0, 90, 180, 270, 350)] == [
        "front view",
        "right side view",
        "back view",
        "left side view",
        "front view",
    ]
    assert seen_from(10, 80) == "view from above"


def test_bad_scenes_are_refused():
    with pytest.raises(UnknownName, match="sphere"):
        Solid("spher", "red")
    with pytest.raises(BadInput, match="size"):
        Solid("sphere", "red", size=0)
    with pytest.raises(BadInput, match="horizon"):
        Light(0, -5)
    with pytest.raises(BadInput, match="lights"):
        Scene((), lights=())
    with pytest.raises(BadInput, match="no scene"):
        render([])
    with pytest.raises(BadInput, match="cameras"):
        render(SCENES[:3], orbit([0, 1]))
    with pytest.raises(BadInput, match="4096"):
        render(SCENES[0], size=5000)
    with pytest.raises(BadInput, match="solid 4"):
        SCENES[0].without(4)
    with pytest.raises(BadInput, match="views"):
        views(SCENES[0], 0)
