from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffolio.papers.issue import Digest
from diffolio.papers.render import render

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Page(HTMLParser):
    """Elements, their attributes, texts of scripts and styles, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inside: list[str] = []
        self.raw: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] in ("script", "style"):
            self.raw.append((self.inside[-1], data))
        else:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(issue: Digest) -> Page:
    return Page(render(issue, "html"))


def test_well_formed(page: Page) -> None:
    assert page.inside == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) and len(page.of("article")) == 7
    labelled = {attributes["for"] for attributes in page.of("label") if "for" in attributes}
    assert {a["id"] for tag in ("select", "input") for a in page.of(tag) if a.get("type") != "checkbox"} == labelled


def test_only_our_scripts_may_run(page: Page) -> None:
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    for kind, text in page.raw:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert re.search(rf"{kind}-src [^;]*'sha256-{re.escape(digest)}'", policy)
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert [kind for kind, _ in page.raw] == ["script", "style", "script"]


def test_nothing_of_a_record_is_an_element(page: Page) -> None:
    assert page.of("img") == [] and len(page.of("script")) == 2 and len(page.of("details")) < 40
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    links = [a["href"] for a in page.of("a")]
    assert links and all(link == "#papers" or link.startswith("https://") for link in links)
    assert [a for tag, a in page.elements if "src" in a] == []
    assert [a["href"].split(",")[0] for a in page.of("link")] == ["data:image/svg+xml"]
    assert "</script><script>window.hacked=1</script>" in page.text  # as text, for all to see


def test_the_header_says_where_the_issue_comes_from(page: Page, issue: Digest) -> None:
    for part in ("7 papers: 4 new", issue.fingerprint, "arXiv OAI-PMH (4)", "2024-03-21T06:00:00Z", "All papers"):
        assert part in page.text


def test_what_runs(page: Page) -> None:
    assert "diffolio run fouriscale" in page.text and "claim holds 3.19 → 1.91 (n=64)" in page.text
    assert "claim fails 1.0 → 1.2 (n=8)" in page.text
    assert sum("data-runs" in a for a in page.of("article")) == 2


def test_what_changed(page: Page, issue: Digest) -> None:
    text = render(issue, "html")
    assert "Merging tokens by <del>weight</del><ins>importance</ins>" in text and "Updated v1 to v2" in page.text


@given(
    st.text(st.characters(codec="utf-8"), max_size=60)
    | st.sampled_from(["<!--", "]]>", "{{x}}", "{% raw %}", "\"'><b>", "&amp;lt;"])
)
@settings(derandomize=True, max_examples=60, deadline=None)
def test_any_text_stays_text(issue: Digest, text: str) -> None:
    entry = issue.entries[0]
    evil = replace(entry, title=text, abstract=text, paper=replace(entry.paper, comments=text))
    plain = replace(entry, title="x", abstract="x", paper=replace(entry.paper, comments="x"))
    shapes = []
    for each in (evil, plain):
        page = Page(render(replace(issue, topic=text, query=text, entries=(each,)), "html"))
        assert page.inside == []
        shapes.append([tag for tag, _ in page.elements if tag not in ("details", "summary", "p")])
    assert shapes[0] == shapes[1]
