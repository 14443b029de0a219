"""One way to edit: what is refused, what is counted and scored, and how photographs go in and come back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from PIL import Image

from diffolio.edits import Edit, each, pictures, wanted
from diffolio.errors import BadInput, NotFinite, UnknownName
from diffolio.metrics.edit import background
from diffolio.models.counting import counted
from diffolio.registry import Editor, knob, method
from diffolio.results import Job
from tests.models.tiny import tiny_model

SOURCES, TARGETS = ["a red fish", "a blue house"], ["a green fish", "a red house"]


@method(paper="0000.00001", family="editing", edits={"colour"}, takes={"reference", "alpha"})
@dataclass(frozen=True)
class Darken(Editor):
    """Multiplies the masked place, or all of the picture, and asks the network once a step."""

    factor: float = knob(0.5, at_least=0.0, means="what is left of the light")
    steps: int = knob(3, at_least=1, means="calls")
    guidance: float = knob(2.0, at_least=1.0, means="guidance")

    def baseline(self):
        return Darken(factor=1.0, steps=self.steps)

    def change(self, model, images, sources, targets, mask=None, *, seed=0, **inputs):
        condition = model.condition(sources)
        for _ in range(self.steps):
            model.predict(model.encode(images), 10, condition, self.guidance)
        place = torch.ones_like(images[:, 0], dtype=torch.bool) if mask is None else mask
        edited = torch.where(place[:, None], images * self.factor, images)
        return Edit(images, edited, sources, targets, report={"inputs": sorted(inputs), "seed": seed})

    def examine(self, model, edit):
        edit.numbers["calls_of_its_own"] = 1.0
        model.predict(model.encode(edit.source), 10, model.condition(edit.prompts))


@method(paper="0000.00002", family="editing", needs={"mask"})
@dataclass(frozen=True)
class Erase(Editor):
    """Whitens the masked place; needs no words."""

    def change(self, model, images, sources, targets, mask=None, *, seed=0, **inputs):
        return Edit(images, images.masked_fill(mask[:, None], 1.0), sources, targets, extra={"hole": mask[:, None].float()})


@pytest.fixture(scope="module")
def model():
    return tiny_model("sd")


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def mask():
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[30:90, 20:60] = True
    return mask


def test_every_editor_is_called_alike_counted_and_scored(model, images, mask):
    edit = Darken()(model, images, SOURCES, TARGETS, mask, seed=4)
    assert (edit.report["seed"], edit.prompts, edit.targets) == (4, SOURCES, TARGETS)
    assert edit.numbers["model_calls"] == 3 * 2, "guided calls are two rows; what `examine` asks is no cost of the edit"
    assert edit.numbers["calls_of_its_own"] == 1
    assert edit.numbers["background_mse"] == 0
    assert edit.numbers["background_psnr"] == 100
    assert edit.scores["rms_change"].shape == (2,)
    assert edit.numbers["structure_distance"] > 0
    everywhere = Darken()(model, images, SOURCES, TARGETS)
    assert "background_mse" not in everywhere.numbers, "without a mask there is no background"
    assert everywhere.numbers["rms_change"] > edit.numbers["rms_change"]
    torch.testing.assert_close(everywhere.change, images / 2)
    wrong = torch.ones(2, 128, 128, dtype=torch.bool).triu()
    expected = background(everywhere.edited, images, wrong)["mse"]
    again = Darken()(model, images, SOURCES, TARGETS).edited
    torch.testing.assert_close(background(again, images, wrong)["mse"], expected)


def test_calls_are_counted_and_the_counter_comes_off(model):
    with counted(model) as calls:
        model.sample(["a red fish", "a tree"], steps=3, guidance_scale=2.0)
    assert (calls.forwards, calls.rows) == (3, 12)
    model.sample("a red fish", steps=1)
    assert calls.forwards == 3
    assert not model.denoiser._forward_hooks


def test_a_target_equal_to_its_source_gives_the_reconstruction_and_says_so(model, images):
    edit = Darken()(model, images, SOURCES, [" a  red fish", "a red house"])
    remade = model.decode(model.encode(images))
    assert torch.equal(edit.edited[0], remade[0])
    assert torch.equal(edit.edited[1], images[1] * 0.5)
    assert any("targets [0] equal" in note for note in edit.notes)
    both = Darken()(model, images, SOURCES, SOURCES)
    assert torch.equal(both.edited, remade)
    assert "the reconstruction" in both.notes[0]


def test_an_editor_that_needs_a_mask_needs_no_words(model, images, mask):
    edit = Erase()(model, images[0], mask=mask)
    assert torch.equal(edit.edited[0][:, mask], torch.ones(3, int(mask.sum())))
    assert edit.notes == []
    with pytest.raises(BadInput, match="needs mask: give it with --mask"):
        Erase()(model, images[0])


def test_bad_input(model, images, mask):
    edit = Darken()
    with pytest.raises(BadInput, match="a mask of 100x128 for pictures of 128x128"):
        edit(model, images, SOURCES, TARGETS, mask[:, :100])
    with pytest.raises(BadInput, match="a mask is empty"):
        edit(model, images, SOURCES, TARGETS, torch.zeros_like(mask))
    with pytest.raises(BadInput, match="give bool"):
        edit(model, images, SOURCES, TARGETS, mask.float())
    with pytest.raises(BadInput, match="3 target prompts for 2 pictures"):
        edit(model, images, SOURCES, ["a", "b", "c"])
    with pytest.raises(BadInput, match="an empty source prompt"):
        edit(model, images, "", TARGETS)
    with pytest.raises(BadInput, match="a picture of shape"):
        edit(model, images[:, :2], SOURCES, TARGETS)
    with pytest.raises(UnknownName, match="Did you mean reference"):
        edit(model, images, SOURCES, TARGETS, refrence=images)
    with pytest.raises(BadInput, match="erase takes no input" if Erase.name == "erase" else "takes no input 'reference'"):
        Erase()(model, images, mask=mask, reference=images)
    with pytest.raises(NotFinite, match="NaN"):
        Darken(factor=1e300)(model, images, SOURCES, TARGETS)
    with pytest.raises(BadInput, match="give some of object"):
        method(paper="0000.00003", family="editing", edits={"colours"})


def test_a_photograph_goes_in_and_comes_back_at_its_size(model, tmp_path):
    picture = Image.new("RGBA", (333, 100), (200, 100, 0, 255))
    picture.putpixel((5, 5), (0, 0, 0, 0))
    picture.save(tmp_path / "photo.png")
    seen = torch.zeros(100, 333, dtype=torch.bool)
    seen[:, :160] = True
    edit = Darken()(model, tmp_path / "photo.png", "a red fish", "a green fish", seen, reference=1)
    assert edit.edited.shape == (1, 3, 40, 128), "as long as the model's own size, in multiples of 8"
    assert edit.picture.shape == (1, 3, 100, 333)
    assert edit.picture[0, 0, 50, 80] < 0.45 < edit.picture[0, 0, 50, 260]
    edit.save(tmp_path / "out")
    with Image.open(tmp_path / "out" / "edit-0.png") as saved:
        assert (saved.size, saved.mode) == ((333, 100), "RGBA"), "this editor keeps the photograph's alpha"
        assert saved.getpixel((5, 5))[3] == 0
    with pytest.raises(BadInput, match="a mask of 64x64 for a picture of 333x100"):
        Darken()(model, tmp_path / "photo.png", "a red fish", "a green fish", torch.ones(64, 64, dtype=torch.bool))


def test_run_shows_the_baseline_beside_and_takes_steps_and_guidance_from_the_job(model, images):
    result = Darken().run(Job(model, SOURCES[:1], images[0, :, :90], steps=2, guidance_scale=1.0, seed=3))
    assert list(result.images) == ["source", "baseline", "edit", "change"]
    assert {tuple(batch.shape) for batch in result.images.values()} == {(1, 3, 90, 128)}
    assert torch.equal(result.images["source"][0], images[0, :, :90])
    assert result.report["target"] == ["a green fish"], "without a target the first colour changes"
    assert (result.numbers["model_calls"], result.numbers["rms_change_baseline"]) == (2, 0)
    own = Darken(steps=1, guidance=3.0).run(Job(model, SOURCES[:1], images[0], steps=2, guidance_scale=1.0))
    assert own.numbers["model_calls"] == 2, "knobs that were set win: one guided step"
    drawn = Darken().run(Job(model, SOURCES, steps=1, target=""))
    assert drawn.images["source"].shape == (2, 3, 128, 128)
    assert drawn.report["target"] == ["a green fish", "a red house"]


def test_run_of_an_editor_by_mask(model, images, mask):
    result = Erase().run(Job(model, [""], images[0], mask=mask))
    assert torch.equal(result.images["hole"][0, 0] > 0, mask)
    drawn = Erase().run(Job(model, ["a red fish left of a blue house"]))
    assert 0 < float(drawn.images["hole"].mean()) < 0.5, "a drawn picture brings the place of its foremost thing"
    with pytest.raises(BadInput, match="a mask without a picture"):
        Erase().run(Job(model, ["a red fish"], mask=mask))


def test_targets_of_a_run(model):
    assert wanted(["a red fish"], "a dog") == ["a dog"]
    with pytest.raises(BadInput, match="one target for 2 prompts"):
        wanted(SOURCES, "a dog")
    with pytest.raises(BadInput, match="--set target"):
        wanted(["a photograph of Rome"], "")
    with pytest.raises(BadInput, match="--prompt"):
        wanted([""], "a dog")
    with pytest.raises(BadInput, match="one picture for 2 prompts"):
        pictures(Job(model, SOURCES, torch.zeros(3, 8, 8)))
    sampled, none, nothing = pictures(Job(model, ["a photograph of Rome"], steps=1))
    assert none is nothing is None
    assert torch.equal(sampled, model.sample(["a photograph of Rome"], steps=1).images)
    assert each("a", 2) == ["a", "a"]
