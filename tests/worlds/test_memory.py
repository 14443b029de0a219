"""Planted pictures: seeded, exact about what is fixed, readable, and the same after a trip through JSON."""

import json

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.metrics.memorization import layout_copy
from diffolio.miniatures.text import LENGTH, tokenizer
from diffolio.worlds.memory import EACH, REPEATS, SORTS, Planted, from_manifest, manifest, planted
from diffolio.worlds.tabletop import judge, read, vocabulary


@pytest.fixture(scope="module")
def items():
    return planted()


def test_the_set_is_seeded_and_complete(items):
    assert items == planted()
    assert items != planted(seed=8)
    assert [item.sort for item in items] == [sort for sort in SORTS for _ in range(EACH)]
    assert {item.repeats for item in items if item.sort == "control"} == {1}
    assert {item.repeats for item in items if item.sort != "control"} == {REPEATS}


def test_captions_are_odd_unique_and_fit_the_tokenizer(items):
    tokens, known = tokenizer(), set(vocabulary())
    odd = [word for item in items for word in item.caption.split() if word not in known]
    assert len(odd) == len(set(odd)) == 2 * len(items)
    assert max(len(tokens(item.caption).input_ids) for item in items) <= LENGTH
    assert all(item.thing.kind in item.caption and item.thing.colour in item.caption for item in items)


def test_a_manifest_survives_json(items):
    assert from_manifest(json.loads(json.dumps(manifest(items)))) == items
    with pytest.raises(BadInput, match="manifest"):
        from_manifest({"world": "tabletop"})


def test_copies_differ_only_where_the_item_is_free(items):
    for item in items:
        copies = item.draw(3, seed=5)
        fixed = item.mask()
        spread = (copies - copies[:1]).abs().amax((0, 1))
        assert spread[fixed].max() < 1e-6
        if item.sort == "template":
            assert spread[~fixed].max() > 0.2
            assert 0.3 < fixed.float().mean() < 0.7
            assert (copies[0] - item.fixed()).abs().amax(0)[fixed].max() < 1e-6
        else:
            assert fixed.all()


def test_any_size_shows_the_same_picture(items):
    for item in items[::5]:
        small, large = item.draw(1, 3, 64), item.draw(1, 3, 128)
        assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.01
        assert torch.equal(item.mask(128)[::2, ::2], item.mask(64))


def test_every_planted_picture_shows_what_its_caption_says(items):
    readings = read(torch.cat([item.draw(1, 3) for item in items]))
    # The reader was made for plain tables: a pattern around a thing lowers how sure it is, not what it says.
    assert sum(judge(reading, item.topic, least_confidence=0).both for reading, item in zip(readings, items, strict=True)) >= 23


def test_no_two_layouts_are_alike(items):
    pictures = torch.cat([item.draw(1, 3) for item in items if item.free is None])
    n = len(pictures)
    scores = layout_copy(pictures.repeat_interleave(n, 0), pictures.repeat(n, 1, 1, 1)).view(n, n)
    assert torch.allclose(scores.diag(), torch.ones(n), atol=1e-4)
    assert (scores - torch.eye(n)).max() < 0.75


def test_bad_items_are_refused(items):
    item = items[0]
    with pytest.raises(UnknownName, match="poster"):
        Planted(item.name, "postr", item.caption, item.thing, item.pattern, item.paints, 0.0, None, 1)
    with pytest.raises(UnknownName, match="rings"):
        Planted(item.name, "poster", item.caption, item.thing, "ring", item.paints, 0.0, None, 1)
