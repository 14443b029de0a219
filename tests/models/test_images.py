"""Reading, writing, fitting and laying out pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffolio.errors import BadInput, NotFinite
from diffolio.models.images import fit_size, load_image, save_image, sheet, strip


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    image = torch.randint(0, 256, (3, 7, 5), generator=torch.Generator().manual_seed(0)) / 255
    path = save_image(image, tmp_path / "a.png")
    torch.testing.assert_close(load_image(path), image)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 2))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    image = load_image(tmp_path / "turned.png")
    assert image.shape == (3, 4, 2)
    assert image[:, 0, 1].tolist() == [1, 0, 0]


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "CMYK"])
def test_pixel_formats_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode).save(path)
    torch.testing.assert_close(load_image(path), torch.ones(3, 2, 3))


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert torch.equal(load_image(tmp_path / "a.png"), torch.ones(3, 2, 2))


def test_sixteen_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 65535], [32768, 1]], dtype=np.uint16)).save(tmp_path / "a.png")
    torch.testing.assert_close(load_image(tmp_path / "a.png")[2], torch.tensor([[0, 1], [32768 / 65535, 1 / 65535]]))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no picture"):
        load_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(BadInput, match="cannot be read as a picture"):
        load_image(tmp_path / "text.png")
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:300])
    with pytest.raises(BadInput, match="cannot be read as a picture"):
        load_image(tmp_path / "half.jpg")
    with pytest.raises(BadInput, match="cannot be read as a picture"):
        load_image(tmp_path)
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(BadInput, match="pixel format"):
        load_image(tmp_path / "float.tiff")


def test_too_many_pixels_are_noticed_before_decoding(tmp_path: Path) -> None:
    Image.new("1", (10_000, 7_000)).save(tmp_path / "huge.png")
    with pytest.raises(BadInput, match="10000x7000 pixels, more than 64 million"):
        load_image(tmp_path / "huge.png")


def test_bad_pictures_are_not_written(tmp_path: Path) -> None:
    for image in (torch.zeros(2, 4, 4), torch.zeros(4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(4, 4, 4)):
        with pytest.raises(BadInput, match="shape"):
            save_image(image, tmp_path / "a.png")
    with pytest.raises(NotFinite):
        save_image(torch.full((3, 2, 2), torch.nan), tmp_path / "a.png")
    with pytest.raises(BadInput, match="can be written"):
        save_image(torch.zeros(3, 2, 2), tmp_path / "missing" / "a.png")
    with pytest.raises(BadInput, match=r"\.png"):
        save_image(torch.zeros(3, 2, 2), tmp_path / "a.nonsense")
    assert list(tmp_path.iterdir()) == []


def test_fit_size_covers_and_crops_the_centre() -> None:
    wide = torch.zeros(3, 8, 16)
    wide[:, :, 4:12] = 1
    fitted = fit_size(wide, 4, 4)
    assert fitted.shape == (3, 4, 4)
    assert float(fitted[:, :, 1:3].min()) > 0.9
    assert fit_size(torch.rand(2, 3, 5, 9), 7, 3).shape == (2, 3, 7, 3)
    same = torch.rand(3, 6, 6)
    assert torch.equal(fit_size(same, 6, 6), same)
    constant = fit_size(torch.full((3, 9, 13), 0.3), 5, 20)
    torch.testing.assert_close(constant, torch.full((3, 5, 20), 0.3))
    with pytest.raises(BadInput, match="at least one pixel"):
        fit_size(same, 0, 4)


def test_a_sheet_has_a_row_a_title_and_a_column_a_sample() -> None:
    images = {
        "baseline": torch.zeros(3, 3, 64, 64),
        "method": [torch.ones(3, 128, 128) * torch.tensor([1.0, 0, 0]).view(3, 1, 1)],
    }
    picture = sheet(images, ["a red circle left of a blue star above", "b", "c"])
    pixels = np.array(picture)
    red = (pixels == [255, 0, 0]).all(-1)
    black = (pixels == [0, 0, 0]).all(-1)
    assert red.sum() == 128 * 128
    assert black.sum() == 3 * 128 * 128  # 64 pixels, magnified to the cell
    assert red.any(1).nonzero()[0].min() > black.any(1).nonzero()[0].max()
    assert picture.width > 3 * 128


def test_a_strip_wraps_into_columns() -> None:
    image = strip(torch.zeros(5, 3, 128, 128), columns=2, labels=["one", "two"])
    assert image.height > 3 * 128
    assert 2 * 128 < image.width < 3 * 128
    for nothing in (lambda: strip([]), lambda: sheet({}), lambda: sheet({"a": []})):
        with pytest.raises(BadInput, match="no picture"):
            nothing()
    with pytest.raises(BadInput, match="columns"):
        strip(torch.zeros(2, 3, 4, 4), columns=-1)
