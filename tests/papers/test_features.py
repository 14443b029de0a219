"""TF-IDF and directions against plain references, and what happens to them when the library changes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from diffolio.errors import LibraryError
from diffolio.papers import tfidf
from diffolio.papers.features import build_features, features_of, folder_of, load
from diffolio.papers.identifiers import key_of
from diffolio.papers.record import Record
from tests.papers.corpus import library_at, papers


@pytest.fixture
def library(tmp_path):
    with library_at(tmp_path) as library:
        yield library


def test_words():
    text = "Zürich's x-ray 3D  U-Net, naïve; see https://example.org/Path?q=1 and www.example.org. 2024 a_b"
    assert tfidf.words_of(text) == ["zurich", "ray", "3d", "net", "naive", "see", "and", "2024"]


def test_weights_are_those_of_a_plain_reference(library):
    texts = {key_of(r.id): f"{r.title}\n{r.abstract}" for r in library.records()}
    counts = {key: Counter(tfidf.words_of(text)) for key, text in texts.items()}
    having = Counter(word for each in counts.values() for word in each)
    chosen = sorted(word for word, n in having.items() if 2 <= n <= 0.25 * len(texts) and not word.isdigit())
    features = build_features(library)
    assert features.terms == chosen
    assert features.keys.tolist() == sorted(texts)
    for row, key in enumerate(features.keys.tolist()):
        weight = {
            word: (1 + math.log(n)) * math.log((1 + len(texts)) / (0.5 + having[word]))
            for word, n in counts[key].items()
            if word in chosen
        }
        length = math.sqrt(sum(value**2 for value in weight.values()))
        stored = features.matrix[[row]]
        got = {features.terms[c]: v for c, v in zip(stored.indices.tolist(), stored.data.tolist(), strict=True)}
        assert got == pytest.approx({word: value / length for word, value in weight.items()}, rel=1e-5)


def test_a_small_library_keeps_every_word(tmp_path):
    with library_at(tmp_path, papers(4)) as library:
        assert "sails" in build_features(library).terms


def test_only_the_most_frequent_words_are_kept(library, monkeypatch):
    everything = build_features(library)
    having = np.bincount(everything.matrix.indices, minlength=len(everything.terms))
    monkeypatch.setattr(tfidf, "MAX_TERMS", 10)
    few = build_features(library)
    assert len(few.terms) == 10
    assert sorted(np.bincount(few.matrix.indices).tolist()) == sorted(having.tolist())[-10:]


def test_directions_are_those_of_an_exact_decomposition(library):
    features = build_features(library, dimensions=8)
    _, values, right = np.linalg.svd(features.matrix.toarray(), full_matrices=False)
    # The first three directions are the three subjects; later ones lie so close together that their order is chance.
    assert np.abs(np.sum(features.basis[:, :3].astype(float) * right[:3].T, axis=0)) == pytest.approx(1, abs=1e-3)
    assert np.linalg.norm(features.meaning.astype(float), axis=1) == pytest.approx(1, abs=2e-3)
    found = np.linalg.norm(features.matrix @ features.basis.astype(float)) ** 2
    assert found >= 0.98 * np.sum(values[:8] ** 2)


def test_brute_force_search_is_the_dot_product(library):
    features = build_features(library)
    vector = features.meaning[7]
    assert features.near(vector) == pytest.approx(features.meaning.astype(float) @ vector.astype(float), abs=1e-3)


def test_twice_built_is_the_same_and_memory_is_mapped(library):
    first, second = (build_features(library) for _ in range(2))
    assert (first.matrix != second.matrix).nnz == 0
    assert np.array_equal(first.meaning, second.meaning) and np.array_equal(first.background, second.background)
    data = second.matrix.data
    while data is not None and not isinstance(data, np.memmap):
        data = data.base
    assert isinstance(data, np.memmap)


def test_only_one_build_is_kept(library):
    for _ in range(3):
        features = build_features(library)
    assert sorted(path.name for path in folder_of(library).iterdir()) == sorted([features.folder.name, "current"])


def test_new_papers_are_added_and_old_scores_stay(library):
    before = features_of(library)
    vector, rows = np.random.default_rng(0).random(len(before.terms)), before.rows(before.keys.tolist())
    extra = [replace(r, id=f"2312.{i:05}") for i, r in enumerate(papers(20, seed=5), start=1)]
    library.add_records(extra)
    after = features_of(library)
    assert len(after) == len(before) + 20 and after.idf.tolist() == before.idf.tolist()
    assert after.keys.tolist() == sorted(after.keys.tolist())
    moved = after.rows(before.keys.tolist())
    assert np.array_equal((after.matrix @ vector)[moved], (before.matrix @ vector)[rows])
    assert after.keys[after.background].tolist() == before.keys[before.background].tolist()
    assert after.matrix[after.rows([key_of("2312.00003")])].nnz
    assert features_of(library).folder == after.folder


def test_a_completed_abstract_is_noticed(tmp_path):
    records = papers(30)
    with library_at(tmp_path, [replace(records[0], abstract=None, source="digest"), *records[1:]]) as library:
        before = features_of(library)
        library.add_records(records[:1])
        after = features_of(library)
        assert after.matrix[[0]].nnz > before.matrix[[0]].nnz
        assert (after.matrix[1:] != before.matrix[1:]).nnz == 0


def test_marks_rebuild_nothing(library):
    before = features_of(library)
    library.mark("2401.00001", "like")
    assert features_of(library).folder == before.folder


def test_many_new_papers_choose_the_words_anew(library):
    before = features_of(library)
    library.add_records([Record(id=f"2402.{i:05}", source="api", title=f"glacier moraine {i}") for i in range(1, 60)])
    after = features_of(library)
    assert "moraine" in after.terms and "moraine" not in before.terms


@pytest.mark.parametrize("step", ["count", "weigh", "directions", "clean"])
def test_a_build_that_dies_leaves_the_previous_features(library, monkeypatch, step):
    before = build_features(library)

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tfidf, step, dies)
    with pytest.raises(KeyboardInterrupt):
        build_features(library)
    after = load(folder_of(library))
    assert after is not None and after.folder == before.folder
    assert sorted(path.name for path in folder_of(library).iterdir()) == sorted([before.folder.name, "current"])


def test_what_a_killed_build_left_is_swept_up_later(library):
    features_of(library)
    old, fresh = (folder_of(library) / f"building-{name}" for name in ("old", "fresh"))
    for each in (old, fresh):
        each.mkdir()
        (each / "data.npy").write_bytes(b"half")
    os.utime(old, (0, 0))
    build_features(library)
    assert fresh.exists() and not old.exists()


def test_a_full_disk_is_a_library_error(library, monkeypatch):
    before = build_features(library)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tfidf, "weigh", full)
    with pytest.raises(LibraryError, match="No space left"):
        build_features(library)
    assert load(folder_of(library)).folder == before.folder


def test_a_place_that_cannot_be_written_is_a_library_error(library):
    folder_of(library).write_text("in the way")
    with pytest.raises(LibraryError, match=r"library\.sqlite\.features"):
        features_of(library)


@pytest.mark.parametrize("damage", ["", "nothing-here", "../.."])
def test_damaged_features_are_built_again(library, damage):
    build_features(library)
    (folder_of(library) / "current").write_text(damage)
    assert len(features_of(library)) == 180


def test_an_empty_library_and_papers_without_text(tmp_path):
    with library_at(tmp_path, []) as library:
        assert len(features_of(library)) == 0
        library.add_records([Record(id="2401.00001", source="bibtex", doi="10.1/x"), *papers(3)[1:]])
        features = features_of(library)
        assert features.with_words().tolist() == [False, True, True]
        assert not features.meaning[0].any()


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = "import sys, diffolio.papers.likes, diffolio.papers.topics; print({'numpy', 'scipy', 'torch', 'sklearn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
