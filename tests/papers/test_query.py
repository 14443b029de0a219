"""The query language: what strings mean, and that every string means something or is refused with a position."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffolio.errors import BadInput
from diffolio.papers.identifiers import key_of
from diffolio.papers.nodes import And, Fact, Id, Not, Or, QueryError, SameAuthor, Words
from diffolio.papers.query import FIELDS, Query, parse
from diffolio.papers.stemming import stems

A, B, C = (Words("text", x) for x in "abc")


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("", None),
        ("a b", And((A, B))),
        ("a AND b", And((A, B))),
        ('"a b"', Words("text", "a b")),
        ('"a b', Words("text", "a b")),
        ("“a b”", Words("text", "a b")),
        ("text-to-image", Words("text", "text-to-image")),
        ("-a", Not(A)),
        ("NOT a", Not(A)),
        ("NOT NOT a", A),
        ("--a", Not(A)),
        ('-"a b"', Not(Words("text", "a b"))),
        ("-(a b)", Not(And((A, B)))),
        ("a OR b", Or((A, B))),
        ("a OR b c", Or((A, And((B, C))))),
        ("(a OR b) c", And((Or((A, B)), C))),
        ("((a OR b", Or((A, B))),
        ("a or b", And((A, Words("text", "or"), B))),
        ("distil*", Words("text", "distil", True)),
        ("optimiz*", Or((Words("text", "optimiz", True), Words("text", "optimize")))),
        ("title:a", Words("title", "a")),
        ("title: a", Words("title", "a")),
        ("ti:a", Words("title", "a")),
        ("title:(a OR -b)", Or((Words("title", "a"), Not(Words("title", "b"))))),
        ('abstract:"a b"', Words("abstract", "a b")),
        ("comment:a", Words("comment", "a")),
        ("author:Gão", Words("author", "gao")),
        ('author:"Gao, Yi"', And((Words("author", "gao"), Words("author", "yi"), SameAuthor(("gao", "yi"))))),
        ("cat:cs.CV", Fact("cat", "cs.CV", 5)),
        ('in:"my series"', Fact("in", "my series", 4)),
        ("-cat:cs.CV a", And((Not(Fact("cat", "cs.CV", 6)), A))),
        ("id:2403.12963v2", Id(key_of("2403.12963"))),
        ("https://arxiv.org/abs/hep-th/9901001", Id(key_of("hep-th/9901001"))),
        ("2403.12963", Or((Id(key_of("2403.12963")), Words("text", "2403.12963")))),
        ("C++", Words("text", "C++")),
        ("o'neil", Words("text", "o'neil")),
        ("50%", Words("text", "50%")),
        ("a -", A),
        ("a % b", And((A, B))),
        ("std::vector", Words("text", "std::vector")),
        ("Kites: a", And((Words("text", "Kites:"), A))),
        ("AnyDoor:Zero-shot", Words("text", "AnyDoor:Zero-shot")),
        ("中文", Or((Words("text", "中文"), Words("summary", "中文")))),
        ("a\0b", And((A, B))),
        ("title:date:x", Words("title", "date:x")),
    ],
)
def test_what_a_string_means(text: str, root: object) -> None:
    assert parse(text).root == root


def test_directives_stand_apart() -> None:
    assert parse("a sort:newest all: b") == Query(And((A, B)), "newest", True)
    assert parse("sort:oldest") == Query(None, "oldest")


def test_what_is_left_out_is_told() -> None:
    assert parse("a ) b %").notes == (
        "left out a ) that nothing opened (position 3)",
        "left out '%', which has no letter or digit (position 7)",
    )


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("AND", 1, "quote"),
        ("a OR", 3, "OR has nothing after"),
        ("OR a", 1, "OR has nothing before"),
        ("a AND OR b", 3, "AND has nothing after"),
        ("NOT", 1, "NOT has nothing after"),
        ("%", 1, "no word"),
        ("titel:a", 1, "Did you mean title:"),
        ("kite autor:bo", 6, "Did you mean author:"),
        ("a title:", 3, "needs a value"),
        ('tag:""', 5, "needs a value"),
        ("id:2413.00001", 4, "month 13"),
        ("sort:best", 6, "relevance"),
        ("-sort:newest", 1, "cannot be excluded"),
        ("title:(cat:cs.CV)", 1, "words only"),
        ("(" * 100 + "a", 41, "deep"),
        ("title:(" * 100 + "a", 287, "deep"),
        ("a " * 300, 501, "250 terms"),
        ("a" * 5000, 4001, "characters"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_place(text: str, position: int, says: str) -> None:
    with pytest.raises(QueryError, match=says) as caught:
        parse(text)
    assert caught.value.position == position and isinstance(caught.value, BadInput)
    assert f"(position {position})" in str(caught.value)


PIECES = st.sampled_from(
    [
        *(f"{name}:" for name in FIELDS),
        "(",
        ")",
        '"',
        "-",
        "NOT",
        "OR",
        "AND",
        " ",
        "*",
        "a",
        "kite",
        "中",
        "2403.12963",
        "..",
        "\0",
    ]
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join), st.lists(PIECES, max_size=25).map(" ".join)))
def test_every_string_is_read_or_refused_with_a_place_inside_it(text: str) -> None:
    try:
        parse(text)
    except QueryError as error:
        assert 1 <= error.position <= len(text) + 1  # noqa: PT017


def test_a_long_query_is_read_quickly() -> None:
    for text in ("(" * 39 + "a " * 200, '"' * 3999, "-" * 3999, "NOT " * 999 + "a", "a*" * 1999, ") " * 1999 + "a"):
        start = time.perf_counter()
        with contextlib.suppress(QueryError):
            parse(text)
        assert time.perf_counter() - start < 2


def test_stems_are_those_of_the_index() -> None:
    assert stems(["Running Diffusions", "", "naïve C++ 4x"]) == [["run", "diffus"], [], ["naiv", "c", "4x"]]
