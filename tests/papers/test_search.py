"""Search: against a plain scan, every fact a query can ask for, orders, counts, and that no string breaks it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.papers.naive import Scan, docs_of
from diffolio.errors import BadInput
from diffolio.papers import plan
from diffolio.papers import search as searching
from diffolio.papers.identifiers import key_of
from diffolio.papers.nodes import QueryError
from diffolio.papers.query import FIELDS
from diffolio.papers.record import Author, Entry, Issue, Record
from diffolio.papers.runnable import Runnable
from diffolio.papers.search import matching, search
from diffolio.papers.store import Library
from diffolio.papers.view import Summary

WORDS = [
    "kite",
    "kites",
    "string",
    "wind",
    "classifier",
    "free",
    "guidance",
    "optimal",
    "optimizing",
    "C++",
    "naïve",
    "zoo-keeper",
]
NAMES = ["Ana Müller", "Bo Ana", "Yi Gao", "Gao Li", "J. O'Neil"]
CATEGORIES = ["cs.CV", "cs.LG", "hep-th", "math.AP"]


def made_up(n: int, seed: int = 0) -> list[Record]:
    rng = random.Random(seed)
    found = []
    for i in range(n):
        year, month = rng.choice((2009, 2014, 2023, 2024)), rng.randint(1, 12)
        serial = f"{i + 1:04}" if year < 2015 else f"{i + 1:05}"
        submitted = f"{year}-{month:02}-{rng.randint(1, 28):02}T08:00:00Z"
        version = rng.choice((1, 1, 2, 4))
        found.append(Record(
            f"{year % 100:02}{month:02}.{serial}", "oai", " ".join(rng.choices(WORDS, k=rng.randint(1, 5))),
            " ".join(rng.choices(WORDS, k=rng.randint(0, 25))), tuple(Author(name) for name in rng.sample(NAMES, rng.randint(1, 3))),
            categories=tuple(rng.sample(CATEGORIES, rng.randint(1, 2))), comments=rng.choice((None, "kite day 2024", "8 pages")),
            published=submitted, updated=f"{year + (version > 1)}{submitted[4:]}", version=version,
        ))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return made_up(400)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> Iterator[Library]:
    with Library.open(tmp_path_factory.mktemp("search") / "library.sqlite") as opened:
        opened.add_records(records)
        yield opened


# Against a scan

TERMS = [
    "kite", "kites", "wind", "guidance", '"classifier free"', '"kite string"', "zoo-keeper", "c++", "naive", "opt*", "optimiz*", "str*",
    '"free gui" OR wind', "title:kite", "abstract:wind", 'title:"kite kite"', "comment:day", "author:gao", 'author:"gao, yi"',
    'author:"ana m"', "author:mül*", "author:o'neil", "cat:cs.CV", "cat:cs.*", "cat:hep-th", "cat:math", "date:2024", "date:2009..2014",
    "date:2024-03..2024-05", "updated:2024", "version:>1", "is:new", "absent",
]  # fmt: skip


def a_query(rng: random.Random, depth: int = 0) -> str:
    if depth > 2 or rng.random() < 0.45:
        return ("-" if rng.random() < 0.2 else "") + rng.choice(TERMS).split(" OR ")[0]
    parts = [a_query(rng, depth + 1) for _ in range(rng.randint(2, 3))]
    text = rng.choice((" ", " OR ", " NOT ")).join(parts)
    return f"({text})" if rng.random() < 0.6 else text


@pytest.mark.parametrize("seed", range(6))
def test_the_same_papers_in_the_same_order_as_a_scan(
    library: Library, records: list[Record], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:  # small windows and an eager choice of drivers: the other paths through the plan
        monkeypatch.setattr(plan, "WINDOW", 7)
        monkeypatch.setattr(plan, "FEW", 20)
    rng, scan = random.Random(seed), Scan(docs_of(records))
    queries = TERMS if seed == 0 else [a_query(rng) for _ in range(30)]
    for query in queries:
        for sort in ("", " sort:newest", " sort:oldest"):
            expected = scan.search(query + sort)
            found = search(library, query + sort, limit=1000)
            assert [paper.key for paper in found.papers] == expected, query + sort
            assert found.total == len(expected) and found.exact and not found.note
        assert matching(library, query) == scan.search(query + " sort:newest")


def test_pages_are_cut_from_one_order(library: Library) -> None:
    whole = [paper.id for paper in search(library, "kite", limit=500).papers]
    pages = [paper.id for at in range(0, len(whole), 30) for paper in search(library, "kite", limit=30, offset=at).papers]
    assert pages == whole and len(whole) > 100
    with pytest.raises(BadInput):
        search(library, "kite", limit=-1)


def test_only_the_newest_matches_are_ranked_and_counts_are_estimated(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search(library, "kite", limit=500)
    newest = [paper.key for paper in search(library, "kite sort:newest", limit=50).papers]
    monkeypatch.setattr(searching, "RANKED", 50)
    monkeypatch.setattr(searching, "COUNTED", 50)
    few = search(library, "kite", limit=500)
    assert sorted(paper.key for paper in few.papers) == sorted(newest) and not few.exact
    assert "newest 50 of about" in few.note and "all:" in few.note
    assert abs(few.total - whole.total) < 0.3 * whole.total
    assert search(library, "all: kite", limit=500) == search(library, "kite", limit=500, all=True) == whole
    assert not search(library, "kite sort:newest", limit=5).exact


def test_ties_go_to_the_newer_paper(tmp_path: Path) -> None:
    with Library.open(tmp_path / "l.sqlite") as opened:
        opened.add_records(Record(f"2401.{i:05}", "api", "Kite", "text") for i in (3, 1, 2))
        assert [paper.id[-1] for paper in search(opened, "kite").papers] == ["3", "2", "1"]


def test_a_changed_paper_is_found_by_its_new_words_only(tmp_path: Path) -> None:
    with Library.open(tmp_path / "l.sqlite") as opened:
        opened.add_records([Record("2401.00001", "api", "Kite", "old", (Author("Ana Bo"),), categories=("cs.CV",), version=1)])
        opened.add_records([Record("2401.00001", "api", "Boat", "new", (Author("Chi Do"),), categories=("cs.LG",), version=2)])
        for query, n in (("kite", 0), ("boat", 1), ("author:bo", 0), ("author:do", 1), ("cat:cs.CV", 0), ("cat:cs.LG", 1)):
            assert search(opened, query).total == n, query
        assert not [finding for finding in opened.doctor() if finding.level == "error"]


# Facts


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    methods = {
        "2401.00001": Runnable("2401.00001", "kite", "resolution", "diffolio run kite", "holds"),
        "2401.00002": Runnable("2401.00002", "boat", "editing", "diffolio run boat"),
    }
    with Library.open(tmp_path_factory.mktemp("facts") / "library.sqlite", methods=methods) as opened:
        opened.add_records([
            Record("2401.00001", "oai", "One", "Code: https://github.com/a/b", published="2024-01-31", updated="2024-03-01", version=3),
            Record("2401.00002", "rss", "Two", announced="cross", retrieved="2024-01-05", withdrawn=True),
            Record("2401.00003", "digest", "Three"),
            Record("2402.00004", "rss", "Four", announced="replace", retrieved="2024-02-05", published="2024-01-31"),
            Record("hep-th/9901005", "oai", "Five", doi="10.5555/5", published="1999-01-04", updated="1999-01-04", version=1),
        ])  # fmt: skip
        entry = Entry("2401.00003", {}, "Three")
        opened.add_issue(Issue("blog", "Kite Weekly", "kite", "2024-02-01", "2024-02-07", (entry,)), sha256="a", raw=b"")
        opened.mark("2401.00001", "like")
        opened.mark("2401.00002", "dislike")
        opened.mark("2401.00002", "tag", "To Read")
        opened.mark("2401.00003", "note", "strings are long")
        opened.mark("2402.00004", "read")
        opened.add_summary("2401.00003", Summary("zh", "extractive", {"tldr": "风筝飞得更高"}))
        yield opened


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("date:2024-01-31", "41"), ("date:2024-01", "4321"), ("date:2024-01-01..2024-01-30", ""), ("date:..1999", "5"),
        ("date:2024..", "4321"), ("since:30d", "41"), ("since:2024-02-01", ""), ("-date:2024", "5"), ("updated:2024-03", "1"),
        ("updated:1999..2024", "15"), ("listed:2024-02-03", "3"), ("listed:2024-02", "43"), ("listed:2024-01-05", "2"),
        ("in:weekly", "3"), ('in:"kite weekly"', "3"), ("has:code", "1"), ("has:link", "1"), ("has:doi", "5"), ("has:method", "21"),
        ("has:summary", "3"), ("has:note", "3"), ("has:tag", "2"), ("is:new", "325"), ("is:replaced", "41"), ("is:cross", "2"),
        ("is:withdrawn", "2"), ("is:liked", "1"), ("is:disliked", "2"), ("is:read", "4"), ("is:unread", "3215"), ("version:3", "1"),
        ("version:>1", "1"), ("version:<=1", "5"), ("version:2..4", "1"), ("runnable:yes", "21"), ("runnable:no", "435"),
        ("family:editing", "2"), ("claim:holds", "1"), ("claim:none", "2"), ('tag:"to read"', "2"), ("tag:absent", ""),
        ("note:STRINGS", "3"), ("like:yes", "1"), ("like:no", "2"), ("like:none", "435"), ("read:yes", "4"), ("read:no", "3215"),
        ("风筝", "3"), ("飞得更高", "3"), ("summary:飞", "3"), ("风筝 three", "3"), ("-summary:飞", "4215"),
        ("has:method OR in:weekly", "321"), ("-(has:method OR has:note)", "45"), ("one OR tag:absent OR is:read", "14"),
        ("id:2401.00001v9", "1"), ("https://arxiv.org/abs/hep-th/9901005", "5"), ("-id:2401.00001", "4325"), ("2401.00003", "3"),
        ("sort:listed", "34215"), ("", "43215"),
    ],
)  # fmt: skip
def test_facts(marked: Library, query: str, found: str) -> None:
    assert "".join(paper.id[-1] for paper in search(marked, query, now="2024-02-25").papers) == found


@pytest.mark.parametrize(
    ("query", "position", "says"),
    [
        ("kite date:2024-02-30", 11, "does not exist"),
        ("date:soon", 6, "is not a date"),
        ("date:2024..2023", 6, "ends before"),
        ("date:..", 6, "beginning or an end"),
        ("version:new", 9, "no version"),
        ("has:cod", 5, "has:code"),
        ("is:gone", 4, "is:new"),
        ("runnable:perhaps", 10, "yes"),
        ("family:editting", 8, "family:editing"),
        ("claim:true", 7, "holds"),
        ("in:weakly", 4, "Kite Weekly"),
    ],
)
def test_a_fact_without_meaning_is_refused_with_its_place(marked: Library, query: str, position: int, says: str) -> None:
    with pytest.raises(QueryError, match=says) as caught:
        search(marked, query)
    assert caught.value.position == position


def test_hidden_papers_show_only_when_asked_for(tmp_path: Path) -> None:
    with Library.open(tmp_path / "l.sqlite") as opened:
        opened.add_records(Record(f"2401.{i:05}", "api", "Kite") for i in (1, 2))
        opened.mark("2401.00001", "hidden")
        assert [search(opened, q).total for q in ("kite", "", "is:hidden", "kite -is:hidden", "runnable:no")] == [1, 1, 1, 1, 1]


def test_now_may_be_text_a_date_or_a_moment(marked: Library) -> None:
    for now in ("2024-02-25T08:00:00Z", date(2024, 2, 25), datetime(2024, 2, 25, 8)):
        assert search(marked, "since:30d", now=now).total == 2
    assert search(marked, "since:1d").exact


def test_matching_among_given_papers(marked: Library) -> None:
    keys = [key_of(id) for id in ("2401.00001", "2401.00003", "hep-th/9901005")]
    assert matching(marked, "one OR five", keys) == [keys[0], keys[2]] and matching(marked, "two", keys) == []
    assert matching(marked, "", keys) == [keys[1], keys[0], keys[2]] and len(matching(marked, "")) == 5


# Every string

PIECES = st.sampled_from(
    [*(f"{name}:" for name in FIELDS), "(", ")", '"', "-", " NOT ", " OR ", " AND ", " ", "*", "kite", "中文", "风", "cs.CV", "2024-01",
     "2024..", "7d", ">1", "yes", "like", "code", "to read", "2401.00001", "\0", "'", ";", "%", "\ud800", "ı", "99999y", "newest"]
)  # fmt: skip


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join), st.lists(PIECES, max_size=12).map(" ".join)))
def test_every_string_gives_papers_or_an_error_with_a_place(text: str) -> None:
    opened = LIBRARY[0]
    try:
        found = search(opened, text.replace("sort:likes", ""), now="2024-02-25")
    except QueryError as error:
        assert 1 <= error.position <= len(text) + 1  # noqa: PT017
    else:
        assert found.total >= len(found.papers) >= 0 and found.exact


LIBRARY: list[Library] = []


@pytest.fixture(scope="module", autouse=True)
def one_library(marked: Library) -> Iterator[None]:
    LIBRARY.append(marked)
    yield
    LIBRARY.clear()


def test_an_empty_library_finds_nothing() -> None:
    with Library.open(":memory:") as opened:
        for query in ("", "kite", "date:2024", "-kite", "cat:cs.CV", "kite sort:listed", "in:x", "family:x", "runnable:yes"):
            assert search(opened, query).papers == () and search(opened, query).total == 0


def test_a_library_open_for_reading_can_be_searched(tmp_path: Path) -> None:
    with Library.open(tmp_path / "l.sqlite") as opened:
        opened.add_records([Record("2401.00001", "api", "Kite", authors=(Author("Yi Gao"),))])
    with Library.open(tmp_path / "l.sqlite", readonly=True) as opened:
        assert search(opened, 'kite author:"gao yi"').total == 1
