"""`diffolio run` of an editor: a photograph, a mask and words go in; the edit, what else changed and the numbers come out."""

import json
import sys

import pytest
from PIL import Image, ImageDraw

from diffolio.cli import main


@pytest.fixture
def cli(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["diffolio", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def files(tmp_path):
    photo = Image.new("RGB", (150, 90), (240, 240, 240))
    ImageDraw.Draw(photo).ellipse((40, 20, 90, 70), (220, 30, 30))
    exif = photo.getexif()
    exif[0x0112] = 3
    photo.save(tmp_path / "photo.jpg", exif=exif)
    mask = Image.new("L", (150, 90))
    ImageDraw.Draw(mask).rectangle((55, 15, 115, 75), 255)
    mask.save(tmp_path / "mask.png")
    Image.new("L", (90, 150), 255).save(tmp_path / "other.png")
    return tmp_path


def test_an_editor_takes_a_photograph_a_mask_and_a_target(cli, files):
    out = files / "out"
    status, text, err = cli("run", "spdinv", "--image", files / "photo.jpg", "--prompt", "a red circle", "--set", "target=a blue circle",
                            "--set", "rounds=1", "--mask", files / "mask.png", "--steps", 2, "--out", out)  # fmt: skip
    assert (status, err) == (0, "")
    assert "background_psnr" in text
    record = json.loads((out / "result.json").read_text())
    assert record["target"] == "a blue circle"
    assert record["report"]["target"] == ["a blue circle"]
    assert record["inputs"] == {"image": "photo.jpg", "mask": "mask.png"}
    assert "target" not in record["knobs"]
    wanted = {"structure_distance", "background_psnr", "background_ssim", "model_calls", "seconds", "background_psnr_baseline"}
    assert wanted <= set(record["numbers"])
    for name in ("source-0.png", "baseline-0.png", "edit-0.png", "reconstruction-0.png", "change-0.png"):
        with Image.open(out / name) as picture:
            assert picture.size == (150, 90)
    with Image.open(out / "source-0.png") as source:
        assert source.getpixel((85, 45))[1] < 60 < 200 < source.getpixel((50, 45))[1], "turned as the tag says"
    with Image.open(out / "change-0.png") as change:
        assert change.convert("L").crop((62, 22, 108, 68)).getextrema()[1] < 12, "inside of the mask nothing is shown"


def test_a_target_that_asks_for_nothing_is_told_of(cli, files):
    status, text, _ = cli("run", "spdinv", "--image", files / "photo.jpg", "--prompt", "a red circle", "--set", "target=a red circle",
                          "--set", "rounds=0", "--steps", 1, "--out", files / "out")  # fmt: skip
    assert status == 0
    assert "note: the target prompt equals the source" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["spdinv", "--image", "photo.jpg", "--mask", "other.png", "--prompt", "a red circle", "--steps", "1"],
         "a mask of 90x150 for a picture of 150x90"),
        (["spdinv", "--mask", "mask.png", "--prompt", "a red circle"], "mask without a picture"),
        (["spdinv", "--image", "photo.jpg", "--input", "pose=mask.png"], "--input pose is nothing that spdinv looks at"),
        (["spdinv", "--image", "photo.jpg", "--input", "pose"], "name=file"),
        (["spdinv", "--image", "photo.jpg", "--input", "pose=nowhere.png"], "there is no file nowhere.png"),
        (["fouriscale", "--image", "photo.jpg"], "--image is nothing that fouriscale looks at: it takes prompts only"),
        (["fouriscale+importance_tome", "--mask", "mask.png"], "--mask is nothing that stack looks at"),
        (["fouriscale", "--set", "target=a dog"], "unknown knob of fouriscale"),
        (["spdinv", "--image", "photo.jpg", "--set", "target=a dog"], "--prompt"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(cli, files, monkeypatch, arguments, words):
    monkeypatch.chdir(files)
    status, _, err = cli("run", *arguments)
    assert status == 2
    assert words in err
    assert "Traceback" not in err
    assert not (files / "out").exists(), "nothing half-written"
