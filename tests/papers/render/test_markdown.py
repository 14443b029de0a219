from __future__ import annotations

import html
import re

import pytest

from diffolio.papers.issue import Digest
from diffolio.papers.render import FORMATS, common, render
from diffolio.papers.render.markdown import code, escape


@pytest.mark.parametrize("format", FORMATS)
def test_same_digest_same_text(issue: Digest, format: str) -> None:
    assert render(issue, format) == render(issue, format)


@pytest.mark.parametrize("format", ["markdown", "html", "rss", "atom", "json", "mail"])
def test_an_empty_window_says_so(empty: Digest, format: str) -> None:
    text = re.sub(r"=\r?\n", "", render(empty, format))  # mail breaks lines
    assert "Nothing to report" in text and "2019-01-07" in text


def test_header(issue: Digest) -> None:
    text = render(issue, "markdown")
    head = text.split("\n## ")[0]
    for part in (
        "7 papers: 4 new, 1 cross-listed, 1 updated, 1 listed again; 2 run here",
        issue.fingerprint,
        "2024-03-15 to 2024-03-20",
    ):
        assert part in head
    assert "arXiv OAI-PMH (4)" in head and "2024-03-21T06:00:00Z" in head


def test_entries(issue: Digest) -> None:
    text = render(issue, "markdown")
    assert "> **Runs here:** `diffolio run fouriscale` · claim holds 3.19 → 1.91 (n=64)" in text
    assert "claim fails 1.0 → 1.2 (n=8)" in text
    assert "Merging tokens by ~~weight~~**importance**" in text
    assert "## Tuesday, 19 March 2024 (2)" in text and "Listed: weekly-made 2024-03-18 (no. 1)" in text


def test_nothing_of_a_record_is_markup(issue: Digest) -> None:
    text = render(issue, "markdown")
    assert re.findall(r"<(?!/?details>|/?summary>|https://)[^>]*>", text) == []
    assert not re.search(r"(?<!\\)\]\((?!<?https://)", text)
    assert "\n## nor this" not in text and "\u202e" not in text


@pytest.mark.parametrize(
    "text",
    ["# no", "- no", "1. no", "2) no", "a*b*c", "`x`", "[a](b)", "<b>", "a_b_", "&lt;", "~~x~~", "a|b", "\\[x\\]", "+ y", "$x$"],
)
def test_escape_shows_the_text_itself(text: str) -> None:
    """Undoing Markdown's backslashes and HTML's entities gives the text, and every active character was escaped."""
    told = escape(text)
    assert html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", told)) == text
    assert not re.match(r"#|-|\+|\d+[.)]", told) and not re.search(r"(?<!\\)[*`\[\]<>~|$_]", told)


def test_code_spans_hold_backticks() -> None:
    assert code("a`b") == "``a`b``" and code("`") == "`` ` ``" and code("plain") == "`plain`"


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://github.com/a/b", True), ("http://example.org/x?y=1#z", True), ("javascript:alert(1)", False),
        ("data:text/html,x", False), ("https://a.org/\"onclick=", False), ("https://", False), ("//a.org", False),
        ("https://a.org/<script>", False), ("https://a.org/a b", False), ("https://[bad", False), ("JaVaScRiPt:x", False),
        ("https://a.org/\nx", False), ("file:///etc/passwd", False),
    ],
)  # fmt: skip
def test_safe_url(url: str, fine: bool) -> None:
    assert (common.safe_url(url) is not None) == fine
