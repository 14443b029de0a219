from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from diffolio.papers import bibtex, jsonl
from diffolio.papers.issue import Digest
from diffolio.papers.record import Author
from diffolio.papers.render import render
from diffolio.papers.render.bib import name_parts, unique
from tests.papers.render import made


def test_bibtex_is_read_back(issue: Digest) -> None:
    text = render(issue, "bibtex")
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert "@misc{muller2024wide,\n  title = {{Wide kernels for wide pictures}}," in text
    assert "author = {Müller, Ana and Chen, Bo and An, Nguyễn Văn}" in text
    assert r"50\% a\_b" in text and r"\textbackslash{}input\{x\}" in text and "$x_1$" in text
    found = {record.id: record for record in bibtex.read(text.encode())}
    assert set(found) == {entry.id for entry in issue.entries}
    record = found["2403.12963"]
    assert (record.title, record.abstract, record.version) == ("Wide kernels for wide pictures", made.ABSTRACT, 1)


def test_keys_are_unique(issue: Digest) -> None:
    entry = issue.entries[0]
    other = replace(entry, paper=replace(entry.paper, id="2403.12999"))
    assert unique([entry, other]) == ["muller2024wide", "muller2024wide240312999"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Ludwig van der Berg", ("van der Berg", "Ludwig")), ("Plato", ("Plato", None)),
        ("The Wide Collaboration", ("The Wide Collaboration", None)),
        ("Ana Müller", ("Müller", "Ana")), ("Vincent Van", ("Van", "Vincent")),
    ],
)  # fmt: skip
def test_names(name: str, parts: tuple[str, str | None]) -> None:
    assert name_parts(Author(name)) == parts


def test_split_names_are_kept() -> None:
    assert name_parts(Author("Nguyễn Văn An", "Nguyễn", "Văn An")) == ("Nguyễn", "Văn An")


def test_csl(issue: Digest) -> None:
    items = {item["id"]: item for item in json.loads(render(issue, "csl"))}
    item = items["muller2024wide"]
    assert item["issued"] == {"date-parts": [[2024, 3, 19]]} and item["author"][0] == {"family": "Müller", "given": "Ana"}
    months = [item["issued"]["date-parts"] for item in items.values() if item["number"].startswith("arXiv:2311.00007")]
    assert months == [[[2023, 11]]]


def test_jsonl_can_be_imported_again(issue: Digest) -> None:
    text = render(issue, "jsonl")
    lines = text.splitlines()
    assert len(lines) == 7
    told = json.loads(lines[0])
    assert told["digest"]["kind"] == "new" and told["digest"]["runs"]["claim"] == "holds"
    back = {record.id: record for record in jsonl.read(text.encode())}
    assert set(back) == {entry.id for entry in issue.entries}
    evil = next(entry for entry in issue.entries if entry.id == "2403.06666")
    assert back["2403.06666"].title == evil.paper.title


def test_a_line_is_a_line(issue: Digest) -> None:
    entry = issue.entries[0]
    odd = replace(issue, entries=(replace(entry, paper=replace(entry.paper, title="a\u2028b\x85c\ud800")),))
    text = render(odd, "jsonl")
    assert len(text.splitlines()) == 1 and re.search(r"a\\u2028b\\u0085c", text)
    text.encode()
