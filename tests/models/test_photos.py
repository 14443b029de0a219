"""Photographs of every kind go to what a model takes and come back; what is no single picture is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from diffolio.errors import BadInput
from diffolio.models.images import load_image
from diffolio.models.photos import Photo, fit, fit_into, load_mask, load_photo


def gradient(height, width):
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y, (x + y) / 2])


@pytest.mark.parametrize("size", [(64, 64), (100, 333), (333, 100), (7, 5), (1, 1), (1, 900), (2000, 31)])
def test_any_size_is_fitted_and_put_back(size):
    photo = Photo(gradient(*size))
    fitted = fit_into(photo, 64, 64, 8)
    h, w = fitted.image.shape[-2:]
    assert h % 8 == w % 8 == 0 and max(h, w) == 64
    assert abs(fitted.height / fitted.width - size[0] / size[1]) <= 0.5 * size[0] / size[1] or 1 in (fitted.height, fitted.width)
    back = fitted.back(fitted.image)
    assert back.shape == (3, *size)
    assert fitted.back(fitted.image[None, None]).shape == (1, 1, 3, *size)
    if min(size) > 60:
        assert (back - photo.image).abs().mean() < 0.01


def test_the_padding_repeats_the_edge_and_holds_the_whole_photograph():
    fitted = fit_into(Photo(gradient(30, 64)), 64, 64, 8)
    assert fitted.image.shape == (3, 32, 64)
    assert (fitted.top, fitted.left, fitted.height, fitted.width) == (1, 0, 30, 64)
    assert torch.equal(fitted.image[:, 0], fitted.image[:, 1])
    assert torch.equal(fitted.image[:, 1:31], gradient(30, 64)), "nothing is resampled that fits already"


def test_the_models_own_size_and_multiple_are_asked():
    model = SimpleNamespace(
        default_size=128, pipeline="pipeline", _architecture=SimpleNamespace(multiple=lambda pipeline: 16 if pipeline else 0)
    )
    assert fit(Photo(gradient(30, 64)), model).image.shape == (3, 64, 128)
    assert fit(Photo(gradient(30, 64)), model, 96, 64).image.shape == (3, 32, 64)
    with pytest.raises(BadInput, match="at least 16 pixels"):
        fit(Photo(gradient(30, 64)), model, 8, 64)
    with pytest.raises(BadInput, match="do not belong"):
        fit(Photo(gradient(30, 64)), model).back(torch.zeros(3, 64, 64))


def test_masks_follow_the_photograph_and_lose_no_thin_line():
    fitted = fit_into(Photo(gradient(200, 400)), 64, 64, 8)
    line = torch.zeros(200, 400, dtype=torch.bool)
    line[:, 133] = True
    small = fitted.mask(line)
    assert small.shape == (32, 64)
    assert small.any(0).nonzero().flatten().tolist() == [133 * 64 // 400]
    assert fitted.mask(~line & line).sum() == 0
    assert fitted.mask(torch.ones_like(line)).all()
    with pytest.raises(BadInput, match="a mask of 200x400 for a picture of 400x200"):
        fitted.mask(line.T)


def test_alpha_is_kept_and_the_colours_lie_over_white(tmp_path):
    picture = Image.new("RGBA", (4, 3), (255, 0, 0, 255))
    picture.putpixel((1, 2), (0, 255, 0, 0))
    picture.putpixel((0, 0), (0, 0, 0, 128))
    picture.save(tmp_path / "a.png")
    photo = load_photo(tmp_path / "a.png")
    assert photo.alpha is not None
    assert photo.alpha[2, 1] == 0 and photo.alpha[0, 3] == 1
    assert photo.alpha[0, 0] == pytest.approx(128 / 255)
    assert photo.image[:, 2, 1].tolist() == [1, 1, 1]
    assert photo.image[0, 0, 0] == pytest.approx(127 / 255, abs=0.005)
    Image.new("RGBA", (4, 3), (255, 0, 0, 255)).save(tmp_path / "opaque.png")
    assert load_photo(tmp_path / "opaque.png").alpha is None
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.putpixel((0, 0), 0)
    palette.save(tmp_path / "p.png", transparency=0)
    alpha = load_photo(tmp_path / "p.png").alpha
    assert alpha is not None and alpha.tolist() == [[0, 1], [1, 1]]


def test_a_colour_profile_is_taken_to_srgb(tmp_path):
    """The same numbers in a linear space are lighter in sRGB; an sRGB profile changes nothing; a broken one is told of."""
    picture = Image.new("RGB", (2, 2), (128, 128, 128))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(tmp_path / "srgb.png", icc_profile=srgb)
    assert torch.equal(load_photo(tmp_path / "srgb.png").image, torch.full((3, 2, 2), 128 / 255))
    linear = bytearray(srgb)
    linear = linear.replace(b"s\0R\0G\0B\0", b"l\0i\0n\0e\0").replace(b"\0s\0R\0G\0B", b"\0l\0i\0n\0e").replace(b"sRGB", b"line")
    curve = bytes(linear)
    start = curve.index(b"para", 128)
    # The tone curve's exponent (s15Fixed16 after type, reserved bytes, function number and padding) becomes 1.0.
    linear[start + 8 : start + 10] = (0).to_bytes(2, "big")
    linear[start + 12 : start + 16] = (1 << 16).to_bytes(4, "big")
    picture.save(tmp_path / "linear.png", icc_profile=bytes(linear))
    seen = load_photo(tmp_path / "linear.png").image
    assert seen.mean() == pytest.approx(188 / 255, abs=0.02), "half of the light is 188 in sRGB"
    picture.save(tmp_path / "broken.png", icc_profile=b"nonsense")
    photo = load_photo(tmp_path / "broken.png")
    assert torch.equal(photo.image, torch.full((3, 2, 2), 128 / 255))
    assert "colour profile" in photo.notes[0]


def test_the_orientation_tag_turns_picture_and_alpha(tmp_path):
    picture = Image.new("RGBA", (4, 2), (0, 0, 255, 255))
    picture.putpixel((0, 0), (255, 0, 0, 128))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    photo = load_photo(tmp_path / "turned.png")
    assert photo.size == "2x4"
    assert photo.alpha is not None and (photo.alpha < 1).nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_an_animation_is_refused_and_a_still_of_its_kind_is_not(tmp_path, kind):
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (10, 200, 90)]
    frames[0].save(tmp_path / f"film.{kind}", save_all=True, append_images=frames[1:])
    with pytest.raises(BadInput, match="animation of 3 frames: save the frame"):
        load_photo(tmp_path / f"film.{kind}")
    frames[1].save(tmp_path / f"still.{kind}")
    assert load_photo(tmp_path / f"still.{kind}").image.shape == (3, 8, 8)


def test_pages_of_a_tiff_are_no_film(tmp_path):
    pages = [Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (4, 4))]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    assert load_photo(tmp_path / "pages.tiff").image[0].mean() == 1


def test_sixteen_bits_grey_and_pillow_pictures(tmp_path):
    Image.fromarray(np.array([[0, 65535], [32768, 1]], dtype=np.uint16)).save(tmp_path / "a.png", icc_profile=b"any")
    photo = load_photo(tmp_path / "a.png")
    assert photo.image[1, 1, 0] == pytest.approx(32768 / 65535)
    assert "16-bit" in photo.notes[0]
    assert torch.equal(load_photo(Image.new("L", (3, 2), 51)).image, torch.full((3, 2, 3), 0.2))
    assert load_photo(photo) is photo
    with pytest.raises(BadInput, match="the picture has pixel format 'F'"):
        load_photo(Image.new("F", (3, 2)))


def test_masks_from_files(tmp_path):
    Image.new("L", (4, 2), 200).save(tmp_path / "grey.png")
    assert load_mask(tmp_path / "grey.png").all()
    clear = Image.new("RGBA", (4, 2), (255, 255, 255, 0))
    clear.putpixel((3, 1), (255, 255, 255, 255))
    clear.save(tmp_path / "clear.png")
    assert load_mask(tmp_path / "clear.png").nonzero().tolist() == [[1, 3]]
    deep = np.zeros((2, 4), dtype=np.uint16)
    deep[0, 0] = 40_000
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert load_mask(tmp_path / "deep.png").nonzero().tolist() == [[0, 0]]
    Image.new("1", (4, 2)).save(tmp_path / "black.png")
    with pytest.raises(BadInput, match="is empty: paint white"):
        load_mask(tmp_path / "black.png")
    with pytest.raises(BadInput, match="there is no picture"):
        load_mask(tmp_path / "none.png")


def test_load_image_sees_what_a_photo_shows(tmp_path):
    picture = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    picture.save(tmp_path / "a.png")
    assert torch.equal(load_image(tmp_path / "a.png"), load_photo(tmp_path / "a.png").image)
