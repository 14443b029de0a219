from dataclasses import replace

import pytest
import torch
from torch.nn.functional import grid_sample

from diffolio.errors import BadInput, UnknownName
from diffolio.geometry.cameras import pixel_centres
from diffolio.worlds.motion import (
    DIRECTIONS,
    LOOPING,
    ONE_MOVER,
    CameraMove,
    Mixture,
    Motion,
    Script,
    SolidsScript,
    film,
    film_solids,
    flow_between,
    read_motion,
    render_clips,
    sample_scripts,
    sample_solids_scripts,
    shows,
    solids_flow,
)
from diffolio.worlds.solids import Scene as SolidsScene
from diffolio.worlds.solids import Solid
from diffolio.worlds.tabletop import Scene, Thing, render

TWO = Script(
    Scene((Thing("square", "red", 0.5, 0.3, 0.3), Thing("star", "blue", 0.5, 0.75, 0.25))),
    (Motion("right", 0.4), Motion("swinging", 0.2)),
)


def warped(after, flow):
    """Frames (N, 3, H, W) taken where the flow (N, 2, H, W) points to."""
    height, width = after.shape[-2:]
    to = flow.permute(0, 2, 3, 1) + pixel_centres(height, width)
    grid = to / torch.tensor([width, height]) * 2 - 1
    return grid_sample(after, grid, align_corners=False, padding_mode="border")


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_flow_carries_each_frame_onto_the_next(size):
    mixture = Mixture(flat=1.0, camera=0.3)
    for script in sample_scripts(10, 2, mixture, aspect=size[1] / size[0]):
        clip = film(script, *size)
        error = (warped(clip.frames[1:], clip.flow) - clip.frames[:-1]).abs().mean(1)
        still = (clip.frames[1:] - clip.frames[:-1]).abs().mean(1)
        free = ~clip.occluded
        if script.scene.texture != "shaded":
            assert error[free].mean() < 0.006
            assert error[free].mean() <= 0.35 * still.mean() + 1e-4
        if clip.occluded.any() and still.mean() > 0.01:
            assert error[clip.occluded].mean() > 5 * error[free].mean()


def test_flow_of_a_known_motion_is_that_motion_and_back():
    clip = film(TWO, 64)
    square = clip.visible[:-1, 0]
    step = 0.4 * 64 / 7
    assert torch.allclose(clip.flow[:, 0][square], torch.tensor(step), atol=1e-3)
    assert clip.flow[:, 1][square].abs().max() < 1e-3
    table = ~clip.visible[:-1].any(1)
    assert clip.flow.permute(0, 2, 3, 1)[table].abs().max() < 0.5  # a soft edge belongs to the thing by its distance
    forward, hidden = flow_between(TWO, 2, 3)
    backward, _ = flow_between(TWO, 3, 2)
    there_and_back = forward + warped(backward[None], forward[None])[0]
    inner = ~torch.nn.functional.max_pool2d(hidden[None].float(), 5, 1, 2)[0].bool()
    assert (there_and_back.abs().amax(0)[inner] < 0.1).float().mean() > 0.95


def test_what_is_covered_next_or_leaves_is_occluded():
    rear, front = Thing("circle", "green", 0.5, 0.5, 0.3), Thing("square", "red", 0.2, 0.5, 0.3)
    clip = film(Script(Scene((rear, front)), (Motion(), Motion("right", 0.4)), length=5), 64)
    covered = clip.visible[:-1, 0] & ~clip.visible[1:, 0]
    assert covered.any()
    assert clip.occluded[covered].float().mean() > 0.95
    stays = clip.visible[:-1, 0] & clip.visible[1:, 0]
    assert clip.occluded[stays].float().mean() < 0.02
    leaving = film(Script(Scene((replace(front, x=0.9),)), (Motion("right", 0.8),), length=4), 64)
    assert leaving.occluded[-1][leaving.visible[-2, 0]].float().mean() > 0.5


def test_tracks_and_boxes_follow_the_masks():
    for script in sample_scripts(6, 4, ONE_MOVER):
        clip = film(script, 64)
        for t in range(8):
            rows, columns = clip.full[t, 0].nonzero(as_tuple=True)
            left, top, right, bottom = clip.boxes[t, 0].tolist()
            assert (left, right, top, bottom) == (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
            x, y = clip.tracks[t, 0].tolist()
            assert left <= x <= right and top <= y <= bottom


@pytest.mark.parametrize("what", DIRECTIONS)
def test_directions_go_where_they_are_called(what):
    moves = [Motion(what, 0.4, path).at(t) for path in ("straight", "arc", "zigzag") for t in (0.0, 1.0)]
    for a, b in zip(moves[::2], moves[1::2], strict=True):
        dx, dy = DIRECTIONS[what]
        assert (b.x - a.x) * dx >= 0 and (b.y - a.y) * dy >= 0
        assert ((b.x - a.x) ** 2 + (b.y - a.y) ** 2) ** 0.5 == pytest.approx(0.4, rel=1e-6)
        assert (dx != 0) == (abs(b.x - a.x) > 1e-9) and (dy != 0) == (abs(b.y - a.y) > 1e-9)


def test_loops_come_back_and_do_not_stand_still():
    for script in sample_scripts(12, 3, LOOPING):
        assert script.loops
        (first,) = render([script.scene_at(0)]).images
        (after,) = render([script.scene_at(script.length)]).images
        assert torch.allclose(first, after, atol=1e-4)
        frames = render_clips([script])[0]
        seam, jumps = (frames[0] - frames[-1]).abs().mean(), (frames[1:] - frames[:-1]).abs().mean((1, 2, 3))
        assert jumps.max() > 1e-3 and seam < 2.5 * jumps.max()
    assert not TWO.loops


def test_a_clip_stays_in_the_picture_and_apart():
    for script in sample_scripts(30, 6, Mixture(camera=0.0, counts=(0.3, 0.7)), aspect=1.25):
        clip_full = render([script.scene_at(f, 1.25) for f in range(8)], 48, 60).full
        border = torch.ones(48, 60, dtype=torch.bool)
        border[1:-1, 1:-1] = False
        assert not (clip_full & border).any()
        assert (clip_full.sum(1) > 1).sum() == 0


def test_twins_differ_in_one_thing_and_share_the_motion():
    blue = TWO.change(0, colour="green")
    a, b = film(TWO), film(blue)
    assert torch.equal(a.flow, b.flow) and torch.equal(a.tracks, b.tracks)
    away = ~torch.nn.functional.max_pool2d(a.full[:, :1].float(), 3, 1, 1).bool()
    assert torch.equal(a.frames * away, b.frames * away) and not torch.equal(a.frames, b.frames)
    assert "green square moving right" in blue.caption and "blue star swinging" in blue.caption
    night = TWO.change(style="night")
    assert "at night" in night.caption and torch.equal(film(night).flow, a.flow)
    alone = TWO.without(0)
    assert len(alone.motions) == 1 and torch.equal(film(alone).tracks[:, 0], a.tracks[:, 1])
    assert "square" not in alone.caption
    other = TWO.dressed(1)
    assert torch.equal(film(other).tracks, a.tracks) and other == TWO.dressed(1)
    assert all(x.kind != y.kind and x.colour != y.colour for x, y in zip(other.scene.things, TWO.scene.things, strict=True))


def test_a_camera_moves_the_table_against_itself():
    still = Script(Scene((Thing("circle", "red"),)), (Motion(),), CameraMove("right", 0.3))
    clip = film(still)
    assert clip.tracks[-1, 0, 0] - clip.tracks[0, 0, 0] == pytest.approx(-0.3 * 64, abs=1e-3)
    assert torch.allclose(clip.flow[:, 0], torch.tensor(-0.3 * 64 / 7), atol=1e-3)
    zoomed = film(replace(still, camera=CameraMove(zoom=1.5)))
    sizes = (zoomed.boxes[:, 0, 2] - zoomed.boxes[:, 0, 0]).float()
    assert (sizes[-1] / sizes[0]).item() == pytest.approx(1.5, abs=0.1)
    with pytest.raises(BadInput, match="plain"):
        replace(still, scene=replace(still.scene, texture="dotted"))


def test_captions_name_the_motion_and_scripts_come_from_their_seed():
    scripts = sample_scripts(60, 9)
    assert scripts[:10] == sample_scripts(10, 9)
    assert scripts != sample_scripts(60, 10)
    for script in scripts:
        for thing, motion in zip(script.scene.things, script.motions, strict=True):
            assert f"{thing.colour} {thing.kind}" in script.caption
            assert motion.words in script.caption
        assert ("camera" in script.caption) == (not script.camera.still)
    bent = Script(Scene((Thing("fish", "red"),)), (Motion("left", 0.4, "arc"),), CameraMove(zoom=1.6))
    assert film(bent).caption == "a red fish moving left in an arc while the camera zooms in"


def test_the_reader_is_right_on_true_clips():
    scripts = sample_scripts(16, 11, ONE_MOVER)
    clips = render_clips(scripts)
    right = [shows(read_motion(clip), script) for clip, script in zip(clips, scripts, strict=True)]
    assert sum(right) >= 15
    assert len({s.motions[0].what for s in scripts[:8]}) > 3
    turned = [
        shows(read_motion(clip.flip(0)), s)
        for clip, s in zip(clips[:8], scripts[:8], strict=True)
        if s.motions[0].what != "still"
    ]
    assert sum(turned) == 0  # played backwards, nothing goes where it should
    reading = read_motion(film(TWO).frames)
    assert {(m.kind, m.colour, m.motion) for m in reading.movers} == {("square", "red", "right"), ("star", "blue", "still")}
    assert shows(reading, TWO) and not shows(reading, TWO.change(0, kind="house"))
    assert not shows(reading, replace(TWO, motions=(Motion("left", 0.4), TWO.motions[1])))


def test_a_batch_of_clips_is_the_clips_one_by_one():
    scripts = sample_scripts(6, 0)
    frames = render_clips(scripts)
    assert frames.shape == (6, 8, 3, 64, 64)
    assert torch.allclose(frames[3], film(scripts[3]).frames, atol=1e-5)


def test_flow_through_space_carries_albedo_onto_the_next_frame():
    for script in sample_solids_scripts(10, 1):
        clip, drawn = film_solids(script, 48)
        free = ~clip.occluded
        error = (warped(drawn.albedo[1:], clip.flow) - drawn.albedo[:-1]).abs().mean(1)
        assert torch.isfinite(clip.flow).all()
        assert error[free].mean() < 0.02
        assert clip.caption and clip.frames.shape == (8, 3, 48, 48)


def test_a_solid_that_moves_and_a_camera_that_orbits():
    scene = SolidsScene((Solid("box", "red"),))
    clip, drawn = film_solids(SolidsScript(scene, ("moving left",)))
    assert clip.tracks[-1, 0, 0] < clip.tracks[0, 0, 0] - 10
    assert "red box moving left" in clip.caption and not clip.loops
    assert (clip.flow[0][:, drawn.ids[0] < 0]).abs().max() < 1e-2
    assert (clip.flow[0][0][drawn.ids[0] == 0] < -1).all()
    around = SolidsScript(scene, ("still",), camera="orbits", swing=360.0)
    turning, views = film_solids(around)
    assert turning.loops and len(views.cameras) == 8
    step, _ = solids_flow(around, 7, 8)
    assert torch.allclose(around.cameras([8]).world_to_camera, around.cameras([0]).world_to_camera, atol=1e-5)
    assert torch.isfinite(step).all()
    twin = around.change(0, colour="blue")
    other, other_views = film_solids(twin)
    assert torch.equal(other_views.depth, views.depth) and torch.equal(other.flow, turning.flow)


def test_bad_scripts_are_refused():
    with pytest.raises(UnknownName, match="left"):
        Motion("lft", 0.3)
    with pytest.raises(BadInput, match="ratio"):
        Motion("growing", 0.5)
    with pytest.raises(BadInput, match="motions"):
        Script(TWO.scene, (Motion(),))
    with pytest.raises(BadInput, match="frames"):
        replace(TWO, length=1)
    with pytest.raises(BadInput, match="lengths"):
        render_clips([TWO, replace(TWO, length=9)])
    with pytest.raises(BadInput, match="T, 3, H, W"):
        read_motion(torch.zeros(3, 64, 64))
    with pytest.raises(BadInput, match="one must stay"):
        TWO.without(0).without(0)
    with pytest.raises(BadInput, match="clips"):
        sample_scripts(0, 0)
