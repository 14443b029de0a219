"""The five real digests: every entry, every field, and back to the byte."""

from __future__ import annotations

import functools
import json

import pytest

from diffolio.papers import formats
from diffolio.papers.importing import import_files, original_bytes, read_issue
from diffolio.papers.record import Issue
from diffolio.papers.store import Library
from tests.papers.seeds import FOLDER, NAMES, seed, seed_path

COUNTS = {"000": 22, "001": 21, "002": 57, "003": 11, "004": 15}
HEADERS = {
    "000": ("topic-list", "Diffusion", "2025-04-27", "2025-04-27"),
    "001": ("topic-list", "Diffusion", "2025-03-31", "2025-03-31"),
    "002": ("overview", None, "2024-03-15", "2024-03-20"),
    "003": ("blog", "Diffusion Models", "2024-03-28", "2024-03-28"),
    "004": ("overview", None, "2024-03-21", "2024-03-23"),
}
VERSIONS = {"000": {None: 22}, "001": {1: 11, 2: 7, 3: 2, 7: 1}, "002": {1: 54, 2: 3}, "003": {1: 11}, "004": {1: 15}}
CUT = {"000": 8, "001": 7, "002": 0, "003": 0, "004": 0}
COMMENTS = {
    "2403.17465": "CVPR 2024",
    "2403.17422": "Accepted to CVPR 2024, project page: https://jyunlee.github.io/projects/interhandgen/",
    "2403.17217": "Project page: https://stelabou.github.io/diffusionact/",
    "2403.17064": "Project page: https://compvis.github.io/attribute-control",
    "2403.17005": "CVPR 2024; Project page: https://trip-i2v.github.io/TRIP/",
    "2403.17001": "CVPR 2024; Project page: https://vp3d-cvpr24.github.io",
}


@functools.cache
def issue_of(name: str) -> Issue:
    return read_issue(seed(name), path=seed_path(name).name)


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_and_header(name):
    issue = issue_of(name)
    assert len(issue.entries) == COUNTS[name]
    assert (issue.format, issue.topic, issue.first, issue.last) == HEADERS[name]
    assert issue.warnings == ()
    found: dict[int | None, int] = {}
    for entry in issue.entries:
        found[entry.version] = found.get(entry.version, 0) + 1
    assert found == VERSIONS[name]
    assert sum(entry.authors_cut for entry in issue.entries) == CUT[name]
    if issue.format == "topic-list":
        assert int(issue.raw["count"]) == COUNTS[name]


def test_every_field_against_the_table():
    seed("000")
    path = FOLDER.parent / "catalog.json"
    if not path.exists():
        pytest.skip("the table of the seeds' papers is absent")
    table = {row["id"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
    ids = []
    for name in NAMES:
        for entry in issue_of(name).entries:
            row = table[entry.id]
            assert row["listed_in"] == [seed_path(name).name]
            assert entry.title == row["title"]
            authors = row["authors"] and tuple(n for n in row["authors"].split(", ") if n != "et al.")
            assert entry.authors == (authors or None)
            assert entry.authors_cut == bool(row["authors"] and row["authors"].endswith("et al."))
            assert entry.categories == (tuple(row["categories"]) if row["categories"] else None)
            assert entry.date == row["submitted"]
            assert entry.comments == COMMENTS.get(entry.id)
            assert (entry.summary is not None) == (name == "003")
            ids.append(entry.id)
    assert len(ids) == len(set(ids)) == len(table) == 126


@pytest.mark.parametrize("name", NAMES)
def test_abstracts_are_the_lines_of_the_file(name):
    """Read by plain line numbers, independently of the grammars."""
    lines = seed(name).decode("utf-8").split("\n")
    offset = {"topic-list": 3, "overview": 2, "blog": 4}[HEADERS[name][0]]
    for entry in issue_of(name).entries:
        first = lines[entry.lines[0] - 1 + offset].strip(" ").removeprefix("* ")
        assert entry.raw["abstract"] == first


@pytest.mark.parametrize("name", NAMES)
def test_faithful_export_gives_the_bytes_back(name):
    data = seed(name)
    issue = issue_of(name)
    assert original_bytes(issue) == data
    written = formats.write(issue)
    if name in ("000", "001"):
        assert written.startswith("# 🔍 Diffusion Papers · 20")
        assert len(issue.repairs) == 3
        changed = [(a, b) for a, b in zip(written.split("\n"), data.decode().split("\n"), strict=True) if a != b]
        assert [(repair.after, repair.before) for repair in issue.repairs] == changed
    else:
        assert written.encode() == data
    assert not any("text" in entry.raw for entry in issue.entries)


@pytest.mark.parametrize("name", NAMES)
def test_clean_export_gives_the_fields_back(name):
    issue = issue_of(name)
    again = read_issue(formats.write(issue, mode="clean"))
    fields = ("id", "title", "abstract", "version", "url", "authors", "authors_cut", "categories", "date", "comments")
    for old, new in zip(issue.entries, again.entries, strict=True):
        assert [getattr(new, field) for field in fields] == [getattr(old, field) for field in fields]
        if old.summary and new.summary:
            assert (new.summary.summary, new.summary.takeaways, new.summary.fields) == (
                old.summary.summary, old.summary.takeaways, old.summary.fields,
            )  # fmt: skip
    assert (again.series, again.topic, again.first, again.last) == (issue.series, issue.topic, issue.first, issue.last)


def test_any_order_of_the_imports_gives_the_same_library(tmp_path):
    prints = set()
    for order in (NAMES, NAMES[::-1], NAMES[2:] + NAMES[:2]):
        with Library.open(tmp_path / f"{order[0]}.sqlite") as library:
            for name in order:
                library.add_issue(issue_of(name), sha256=name, raw=seed(name))
            assert len(library) == 126
            prints.add(library.fingerprint())
    assert len(prints) == 1


def test_the_five_seeds_are_126_ids_and_125_works(tmp_path):
    with Library.open(tmp_path / "library.sqlite") as library:
        report = import_files(library, [seed_path(name) for name in NAMES])
        assert (report.entries, report.new, len(library)) == (126, 126, 126)
        (work,) = library.works("merged")
        assert work.papers == ("2502.04363", "2503.23796")
        assert [told.split(" (")[0] for told in report.works] == ["2502.04363 = 2503.23796"]
