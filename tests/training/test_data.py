"""Folders of captioned pictures: what is read, what is left out and said, what is refused."""

import warnings

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.models import DiffolioWarning
from diffolio.models.images import save_image
from diffolio.training.data import captioned_folder


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        save_image(torch.rand(3, 8, 8), tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f" a picture of {name}\n")
    return tmp_path


def test_pictures_and_captions(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = captioned_folder(folder)
    image, caption = found[1]
    assert len(found) == 2 and image.shape == (3, 8, 8) and caption == "a picture of b"


def test_what_cannot_be_read_is_left_out_counted_and_named(folder):
    (folder / "torn.png").write_bytes((folder / "a.png").read_bytes()[:40])
    (folder / "torn.txt").write_text("torn")
    save_image(torch.rand(3, 8, 8), folder / "mute.jpg")
    save_image(torch.rand(3, 8, 8), folder / "latin.png")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.warns(DiffolioWarning) as told:
        found = captioned_folder(folder)
    text = str(told[0].message)
    assert [path.name for path in found.paths] == ["a.png", "b.png"]
    assert text.startswith("3 of 5 pictures") and all(
        name in text for name in ("torn.png", "mute.jpg has no mute.txt", "latin.png")
    )


def test_a_long_list_is_cut(folder):
    for i in range(25):
        (folder / f"x{i:02}.png").write_bytes(b"")
    with pytest.warns(DiffolioWarning, match="25 of 27.*and 5 more"):
        captioned_folder(folder)


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(BadInput, match="not a folder"):
        captioned_folder(tmp_path / "none")
    with pytest.raises(BadInput, match="holds no picture"):
        captioned_folder(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match="1 of 1 pictures.*Nothing is left"):
        captioned_folder(tmp_path)
