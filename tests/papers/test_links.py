"""Links of papers."""

from __future__ import annotations

import time

import pytest

from diffolio.papers.links import links_of, tidy
from tests.papers.seeds import seed


def found(abstract: str | None, comments: str | None = None) -> list[tuple[str, str, str]]:
    return [(link.url, link.kind, link.found_in) for link in links_of(abstract, comments)]


URLS = {
    "https://github.com/a/b.git.": "https://github.com/a/b",
    "https://github.com/a/b).": "https://github.com/a/b",
    "https://a.example/x_(y)": "https://a.example/x_(y)",
    "https://a.example/x_(y)).": "https://a.example/x_(y)",
    "https://github.com/a/b.Our": "https://github.com/a/b",
    "https://a.example/b\\_c": "https://a.example/b_c",
    "https://a.example/\\~{}me/": "https://a.example/~me/",
    "https://a.example/b}{text}": "https://a.example/b",
    "HTTPS://A.example/B": "https://A.example/B",
    "www.a.example/b,": "https://www.a.example/b",
    "github.com/a/b": "https://github.com/a/b",
    "https://a.example/b](c)": "https://a.example/b",
    "https://": "",
    "http://x": "",
}


@pytest.mark.parametrize("raw", URLS)
def test_an_address_loses_what_surrounds_it(raw: str) -> None:
    assert tidy(raw) == URLS[raw]


KINDS = {
    "See https://github.com/a/b": "code",
    "See https://gitlab.example.org/a/b": "code",
    "See https://anonymous.4open.science/r/x": "code",
    "See https://me.github.io/paper/": "project",
    "See https://sites.google.com/view/x": "project",
    "See https://youtu.be/x": "demo",
    "See https://huggingface.co/spaces/a/b": "demo",
    "See https://huggingface.co/datasets/a/b": "data",
    "See https://huggingface.co/a/b": "other",
    "See https://zenodo.org/records/1": "data",
    "See https://doi.org/10.1234/x": "doi",
    "See https://arxiv.org/abs/2401.00001": "other",
    "Project page: https://a.example/x": "project",
    "The code is at https://a.example/x": "code",
    "Our dataset is at https://a.example/x": "data",
    "Watch the video at https://a.example/x": "demo",
    "More at https://a.example/x": "other",
}


@pytest.mark.parametrize("text", KINDS)
def test_kinds(text: str) -> None:
    ((_, kind, place),) = found(text)
    assert (kind, place) == (KINDS[text], "abstract")


def test_each_link_once_and_those_of_the_abstract_first() -> None:
    assert found("Code: https://github.com/A/b.", "Code http://www.github.com/A/b.git, page https://c.example/d") == [
        ("https://github.com/A/b", "code", "abstract"),
        ("https://c.example/d", "project", "comments"),
    ]


def test_glued_addresses() -> None:
    assert found("availableathttps://github.com/a/bhttps://c.example/d") == [
        ("https://github.com/a/b", "code", "abstract"),
        ("https://c.example/d", "other", "abstract"),
    ]
    assert found(None, "https://web.archive.org/web/2020/https://c.example") == [
        ("https://web.archive.org/web/2020/https://c.example", "other", "comments")
    ]


def test_the_kind_of_one_address_says_nothing_of_the_next() -> None:
    assert [kind for _, kind, _ in found("Code: https://a.example/1 https://a.example/2")] == ["code", "other"]


def test_dois() -> None:
    assert found(None, "doi:10.1234/ab.c(1)5.") == [("https://doi.org/10.1234/ab.c(1)5", "doi", "comments")]
    assert found(None, "DOI 10.1234/x, https://doi.org/10.1234/y") == [
        ("https://doi.org/10.1234/x", "doi", "comments"),
        ("https://doi.org/10.1234/y", "doi", "comments"),
    ]


def test_tex_and_markdown() -> None:
    assert [url for url, _, _ in found(r"\url{https://a.example/b\_c} \href{https://d.example}{here} [x](https://e.example/f)")] == [
        "https://a.example/b_c", "https://d.example", "https://e.example/f",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", [None, "", "no links here", "a/b and and/or 3/4", "me@github.com/x", "http", "://", "https://", "www."]
)
def test_none(text: str | None) -> None:
    assert links_of(text, text) == ()


def test_seed_001_has_its_links() -> None:
    urls = {url for line in seed("001").decode().split("\n") for url, _, _ in found(line) if "arxiv.org" not in url}
    assert {
        "https://github.com/shuaizhengliu/InstructRestore",
        "https://yuelei0428.github.io/projects/Visual-Acoustic-Fields/",
        "https://github.com/LAIT-CVLab/Singular-Value-Scaling",
    } <= urls


@pytest.mark.parametrize(
    "unit", ["https://", "https://a.b/(", "www.", "github.com/", ".A", "doi:10.1234/", "/", "https://a.b/x.", "\\~"]
)
def test_a_hostile_text_takes_no_time(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    links_of(text, "https://a.example/" + text)
    assert time.process_time() - start < 2.0
