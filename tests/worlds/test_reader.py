import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from diffolio.errors import BadInput
from diffolio.worlds.tabletop import (
    BACKGROUNDS,
    COLOURS,
    KIND_NAMES,
    STYLES,
    Mixture,
    Scene,
    Thing,
    judge,
    read,
    render,
    sample_scenes,
)


def misread(scenes, images) -> int:
    verdicts = [judge(reading, scene) for reading, scene in zip(read(images), scenes, strict=True)]
    return sum(not verdict.all for verdict in verdicts)


def disturbed(images):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, 0.6, 0.6))) + 0.02 * noise).clamp(0, 1)


@pytest.mark.parametrize("style", STYLES)
def test_every_kind_colour_and_background_in_every_style(style):
    scenes = [
        Scene(
            (Thing(kind, list(COLOURS)[i % 8], size=0.36, angle=9.0 * (i % 3 - 1)),),
            list(BACKGROUNDS)[i % 6],
            style=style,
            seed=i,
        )
        for i, kind in enumerate(KIND_NAMES * 2)
    ]
    for scene, reading in zip(scenes, read(render(scenes).images), strict=True):
        assert judge(reading, scene).all
        assert (reading.background, reading.style) == (scene.background, style)
        assert reading.confidence > 0.8


def test_drawn_scenes_are_read_right():
    scenes = sample_scenes(80, 901)
    assert misread(scenes, render(scenes).images) <= 1


def test_blurred_and_noisy_scenes_are_read_right():
    scenes = sample_scenes(80, 902)
    assert misread(scenes, disturbed(render(scenes).images)) <= 2


@pytest.mark.parametrize(("height", "width"), [(128, 128), (64, 96), (200, 100), (48, 48)])
def test_any_size_and_aspect(height, width):
    scenes = sample_scenes(20, 903, Mixture(flat=1.0), aspect=width / height)
    images = render(scenes, height, width).images
    readings = read(images)
    assert sum(not judge(reading, scene).all for reading, scene in zip(readings, scenes, strict=True)) <= 1
    assert all(found.mask.shape == (height, width) for reading in readings for found in reading.found)


def test_place_size_angle_and_mask_are_near_the_truth():
    things = [Thing("fish", "orange", 0.4, 0.6, 0.5, 12), Thing("tree", "blue", 0.55, 0.45, 0.4, -20), Thing("house", "pink")]
    scenes = [Scene((thing,), "mint") for thing in things]
    drawn = render(scenes)
    for index, (thing, reading) in enumerate(zip(things, read(drawn.images), strict=True)):
        found = reading.found[0]
        assert abs(found.x - thing.x) < 0.01
        assert abs(found.y - thing.y) < 0.01
        assert abs(found.size - thing.size) < 0.02
        assert abs(found.angle - thing.angle) < 3
        truth = drawn.visible[index, 0]
        assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.95


def test_what_is_hidden_is_completed_and_its_mask_is_what_shows():
    rear, front = Thing("circle", "red", 0.40, 0.5, 0.5), Thing("square", "blue", 0.62, 0.56, 0.4)
    scene = Scene((rear, front), relation="in front of", subject=1)
    drawn = render([scene])
    reading = read(drawn.images)[0]
    by_kind = {found.kind: index for index, found in enumerate(reading.found)}
    circle = reading.found[by_kind["circle"]]
    assert abs(circle.x - rear.x) < 0.02
    assert abs(circle.size - rear.size) < 0.03
    truth = drawn.visible[0, 0]
    assert (circle.mask & truth).sum() / (circle.mask | truth).sum() > 0.93
    assert "in front of" in reading.relation(by_kind["square"], by_kind["circle"])
    assert "in front of" not in reading.relation(by_kind["circle"], by_kind["square"])


def test_a_thing_cut_in_two_is_one_thing():
    scene = Scene(
        (Thing("ring", "green", 0.5, 0.5, 0.6), Thing("cross", "purple", 0.5, 0.5, 0.5)), relation="in front of", subject=1
    )
    reading = read(render([scene]).images)[0]
    assert sorted(found.kind for found in reading.found) == ["cross", "ring"]


def test_two_things_of_one_colour_stay_two():
    scene = Scene((Thing("boat", "cyan", 0.3, 0.3, 0.36), Thing("tree", "cyan", 0.72, 0.7, 0.3)))
    assert sorted(found.kind for found in read(render([scene]).images)[0].found) == ["boat", "tree"]


def test_relations_follow_the_centres():
    scene = Scene((Thing("star", "red", 0.25, 0.5, 0.3), Thing("heart", "blue", 0.75, 0.5, 0.3)), relation="left of")
    reading = read(render([scene]).images)[0]
    star = next(i for i, found in enumerate(reading.found) if found.kind == "star")
    assert reading.relation(star, 1 - star) == {"left of"}
    assert reading.relation(1 - star, star) == {"right of"}
    with pytest.raises(BadInput, match="thing 2"):
        reading.relation(0, 2)


def test_the_judge_says_what_is_wrong():
    asked = Scene((Thing("star", "red", 0.25, 0.5, 0.3), Thing("heart", "blue", 0.75, 0.5, 0.3)), relation="left of")

    def verdict(*things):
        return judge(read(render([Scene(things)]).images)[0], asked)

    star, heart = asked.things
    assert verdict(star, heart).all
    swapped = verdict(Thing("star", "blue", 0.25, 0.5, 0.3), Thing("heart", "red", 0.75, 0.5, 0.3))
    assert (swapped.kinds, swapped.colours, swapped.both) == (True, True, False)
    turned = verdict(Thing("star", "red", 0.75, 0.5, 0.3), Thing("heart", "blue", 0.25, 0.5, 0.3))
    assert (turned.both, turned.relation, turned.all) == (True, False, False)
    alone = verdict(star)
    assert (alone.kinds, alone.colours, alone.count) == (False, False, False)
    more = verdict(star, heart, Thing("ring", "green", 0.5, 0.85, 0.25))
    assert (more.both, more.count, more.all) == (True, False, False)


def test_an_empty_table_holds_nothing():
    for style in ("flat", "night", "snow"):
        scene = Scene((Thing("circle", "red", x=-3.0),), "cream", texture="dotted", style=style)
        reading = read(render([scene]).images)[0]
        assert (reading.count, reading.background, reading.style) == (0, "cream", style)
    assert all(read(torch.full((1, 3, 64, 64), value))[0].count == 0 for value in (0.0, 0.5, 1.0))


def test_noise_holds_nothing_sure():
    generator = torch.Generator().manual_seed(0)
    white = torch.rand(1, 3, 64, 64, generator=generator)
    soft = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8, generator=generator), (64, 64), mode="bilinear")
    readings = read(torch.cat([white, soft]))
    assert max((found.confidence for reading in readings for found in reading.found), default=0.0) < 0.5
    assert max(reading.confidence for reading in readings) < 0.5


SHAPES = {
    "crescent": lambda x, y: (np.hypot(x, y) < 1) & (np.hypot(x - 0.5, y) > 0.8),
    "L": lambda x, y: (abs(x) < 0.9) & (abs(y) < 0.9) & ~((x > -0.2) & (y < 0.2)),
    "oval": lambda x, y: x**2 + 4 * y**2 < 1,
    "arrow": lambda x, y: ((abs(y) < 0.25) & (x < 0.2) & (x > -0.9)) | ((x >= 0.1) & (abs(y) < 0.8 - x)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_that_is_no_kind_is_seen_but_not_sure(shape):
    picture = torch.tensor([0.96, 0.96, 0.95])[None, :, None, None].repeat(1, 1, 64, 64)
    y, x = (np.mgrid[:64, :64] - 31.5) / 16
    picture[0][:, torch.from_numpy(SHAPES[shape](x, y))] = torch.tensor(COLOURS["green"])[:, None]
    reading = read(picture)[0]
    assert [found.colour for found in reading.found] == ["green"]
    assert reading.found[0].kind_confidence < 0.5
    assert reading.found[0].colour_confidence > 0.9
    verdict = judge(reading, Scene((Thing(reading.found[0].kind, "green"),)))
    assert (verdict.kinds, verdict.colours, verdict.count, verdict.all) == (False, True, True, False)


def test_a_picture_is_read_alike_in_any_company_and_every_time():
    scenes = sample_scenes(12, 904)
    images = render(scenes).images
    together = read(images)
    for index in (0, 5, 11):
        alone = read(images[index : index + 1])[0]
        assert alone == together[index]
        assert all(torch.equal(a.mask, b.mask) for a, b in zip(alone.found, together[index].found, strict=True))
    assert read(images.double()) == together


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(1, 1, 64, 64), "B, 3, H, W"),
        (torch.zeros(3, 64, 64), r"image\[None\]"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "float"),
        (np.zeros((1, 3, 64, 64)), "ndarray"),
        (torch.full((1, 3, 64, 64), float("nan")), "NaN"),
        (torch.full((1, 3, 64, 64), -1.0), r"\[-1.00, -1.00\]"),
        (torch.zeros(1, 3, 8, 64), "16..4096"),
    ],
)
def test_what_cannot_be_read_is_refused(images, says):
    with pytest.raises(BadInput, match=says):
        read(images)


def test_least_area_is_checked_and_leaves_out_specks():
    picture = torch.tensor([0.96, 0.96, 0.95])[None, :, None, None].repeat(1, 1, 64, 64)
    picture[0, :, 30:33, 30:33] = torch.tensor(COLOURS["red"])[:, None, None]
    assert read(picture)[0].count == 0
    assert read(picture, least_area=0.001)[0].count == 1
    with pytest.raises(BadInput, match="least_area"):
        read(picture, least_area=0)
