"""What the edit benchmark asks: exact masks and truths on the tabletop, PIE-Bench's folder as it is handed out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from diffolio.claims.benchmark.cases import successes, tabletop
from diffolio.claims.benchmark.pie import KINDS, decode_mask, pie_bench
from diffolio.errors import BadInput


def test_masks_are_exact_and_truths_are_read_as_successes():
    cases = tabletop(2, 64)
    truths = torch.stack([case.truth for case in cases])
    sources = torch.stack([case.image for case in cases])
    for case in cases:
        outside = (case.image - case.truth).abs()[:, ~case.mask]
        assert outside.numel() == 0 or outside.max() <= 1 / 255
        assert case.mask.any()
    there = successes(truths, cases)
    assert there["success"].mean() >= 0.9
    assert there["all_right"].mean() >= 0.75
    untouched = successes(sources, cases)
    assert untouched["success"].sum() == untouched["all_right"].sum() == 0
    assert len({case.prompt for case in cases}) > 8, "every kind has scenes of its own"


def test_an_edit_elsewhere_is_no_success():
    """Recolouring the other thing does not count."""
    (case,) = (c for c in tabletop(4, 64, ("colour",)) if len(c.before.things) == 2 and c.name == "colour 1")
    index = next(i for i, thing in enumerate(case.before.things) if thing in case.scene.things)
    wanted = next(thing.colour for thing in case.scene.things if thing not in case.before.things)
    from diffolio.worlds.tabletop import render

    wrong = render([case.before.change(index, colour=wanted)], 64).images
    assert successes(wrong, [case])["success"].item() == 0


def plain_decode(runs, height, width):
    """The runs written out one by one."""
    flat = np.zeros(height * width, dtype=bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        flat[start : start + length] = True
    return flat.reshape(height, width)


@pytest.mark.parametrize("runs", [[0, 3], [2, 4, 10, 1], [], [0, 24], [5, 7, 8, 2], [20, 100], [3, 0]])
def test_run_lengths(runs):
    assert np.array_equal(decode_mask(runs, 4, 6).numpy(), plain_decode(runs, 4, 6))


def test_bad_run_lengths():
    for runs, words in (([1], "pairs"), ([-1, 2], "pairs"), ([99, 1], "behind")):
        with pytest.raises(BadInput, match=words):
            decode_mask(runs, 4, 6)


@pytest.fixture
def folder(tmp_path):
    """Three good entries and every way in which one can be bad."""
    root = tmp_path / "annotation_images"
    (root / "1_change_object_80" / "1_artificial").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("a.jpg", (64, 64)), ("b.jpg", (64, 64)), ("wide.jpg", (96, 48))):
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(
            root / "1_change_object_80" / "1_artificial" / name
        )
    (root / "broken.jpg").write_text("no picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    good = {
        "image_path": "1_change_object_80/1_artificial/a.jpg", "original_prompt": "a [red] fish", "editing_prompt": "a [blue] fish",
        "editing_instruction": "", "editing_type_id": "6", "blended_word": "", "mask": [64 * 10 + 10, 20, 64 * 11 + 10, 20],
    }  # fmt: skip
    mapping = {
        "000000000000": good,
        "000000000001": {**good, "image_path": "1_change_object_80/1_artificial/b.jpg", "editing_type_id": "0"},
        "000000000002": {**good, "image_path": "1_change_object_80/1_artificial/wide.jpg", "mask": [0, 96 * 24]},
        "gone": {**good, "image_path": "nowhere.jpg"},
        "broken": {**good, "image_path": "broken.jpg"},
        "escapes": {**good, "image_path": "../outside.png"},
        "odd": {**good, "mask": [1, 2, 3]},
        "empty mask": {**good, "mask": []},
        "no mask": {key: value for key, value in good.items() if key != "mask"},
        "no words": {**good, "editing_prompt": "[]"},
        "no kind": {**good, "editing_type_id": "x"},
        "not an entry": 3,
    }
    (tmp_path / "mapping_file.json").write_text(json.dumps(mapping))
    return tmp_path


def test_pie_bench_is_read_and_what_cannot_be_is_listed(folder):
    cases, skipped = pie_bench(folder, 32)
    assert [case.name for case in cases] == ["000000000001", "000000000000", "000000000002"]
    assert [case.kind for case in cases] == ["random", "colour", "colour"]
    first = cases[1]
    assert (first.prompt, first.target) == ("a red fish", "a blue fish")
    assert first.image.shape == (3, 32, 32)
    assert first.mask[5, 5:15].all() and first.mask.sum() == 10
    assert first.inside[0].all() and first.inside[:, -1].all() and not first.mask[0].any(), "the border is no background"
    assert cases[2].image.shape == (3, 16, 32)
    assert cases[2].mask[:8].all() and not cases[2].mask[8:].any()
    assert {line.split(":")[0] for line in skipped} == {
        "gone", "broken", "escapes", "odd", "empty mask", "no mask", "no words", "no kind", "not an entry"
    }  # fmt: skip
    assert any("no 'mask'" in line for line in skipped)
    assert successes(torch.stack([c.image for c in cases[:2]]), cases[:2])["success"].isnan().all()
    assert len(pie_bench(folder, 32, n=1, kinds=("colour",))[0]) == 1
    assert KINDS[6] == "colour" and KINDS[9] == "style"


def test_folders_that_are_not_pie_bench(tmp_path, folder):
    with pytest.raises(BadInput, match=r"no mapping_file\.json"):
        pie_bench(folder / "annotation_images", 32)
    with pytest.raises(BadInput, match="nothing in"):
        pie_bench(folder, 32, kinds=("pose",))
    (folder / "mapping_file.json").write_text("[1]")
    with pytest.raises(BadInput, match="holds a list"):
        pie_bench(folder, 32)
    (folder / "mapping_file.json").write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        pie_bench(folder, 32)
