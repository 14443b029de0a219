"""Layered pictures: composition, overlap, empty layers, files."""

import warnings
import zipfile
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from diffolio.errors import BadInput
from diffolio.models import DiffolioWarning
from diffolio.models.layered_image import LayeredImage


def picture(disjoint=True):
    images = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(2, 1, 16, 24)
    masks[0, :, :, :8], masks[1, :, :, 8 if disjoint else 4 : 16] = 1, 1
    return LayeredImage(images, masks, "all", ("a table", "a <red> star", "a boat"))


def test_where_masks_are_disjoint_the_picture_is_the_papers_sum():
    one = picture()
    soft = LayeredImage(one.images, one.masks * 0.4)
    for case in (one, soft):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made = case.composite()
        wanted = (case.masks * case.images[1:]).sum(0) + (1 - case.masks.sum(0)) * case.images[0]
        torch.testing.assert_close(made, wanted)


def test_overlapping_masks_are_not_composited_silently():
    one = picture(disjoint=False)
    assert one.overlap == pytest.approx(4 / 24)
    with pytest.warns(DiffolioWarning, match="16.7%"):
        made = one.composite()
    assert torch.equal(made[:, :, 4:16], one.images[2, :, :, 4:16])


def test_empty_layers_are_told():
    one = picture()
    assert one.empty == []
    assert LayeredImage(one.images, torch.stack([one.masks[0], one.masks[1] * 0.3])).empty == [2]


def test_openraster_and_psd_layers(tmp_path):
    one = picture()
    with zipfile.ZipFile(one.to_ora(tmp_path / "a.ora")) as file:
        assert file.namelist()[0] == "mimetype" and file.read("mimetype") == b"image/openraster"
        layers = ElementTree.fromstring(file.read("stack.xml")).findall("stack/layer")
        assert [layer.get("name") for layer in layers] == ["a boat", "a <red> star", "a table"]
        with Image.open(file.open(layers[0].get("src"))) as top:
            assert (
                top.size == (24, 16) and top.mode == "RGBA" and top.getpixel((10, 3))[3] == 255 and top.getpixel((0, 0))[3] == 0
            )
        assert "mergedimage.png" in file.namelist()
    names, pixels = zip(*one.psd_layers(), strict=True)
    assert names == ("a table", "a <red> star", "a boat") and pixels[0].shape == (4, 16, 24) and bool((pixels[0][3] == 1).all())


def test_refused(tmp_path):
    with pytest.raises(BadInput, match="L - 1"):
        LayeredImage(torch.zeros(3, 3, 8, 8), torch.zeros(3, 1, 8, 8))
    with pytest.raises(BadInput, match="cannot be written"):
        picture().to_ora(tmp_path / "none" / "a.ora")
