from __future__ import annotations

from dataclasses import replace

import pytest

from diffolio.papers.formats import sniff
from diffolio.papers.issue import Digest
from diffolio.papers.render import render
from diffolio.papers.render.digests import issue_of


@pytest.mark.parametrize("format", ["topic-list", "overview", "blog"])
def test_what_is_written_is_read_back(issue: Digest, format: str) -> None:
    if format == "blog":  # its grammar knows an entry by its authors
        issue = replace(issue, entries=tuple(entry for entry in issue.entries if entry.authors))
    text = render(issue, format)
    module = sniff(text)
    assert format == module.NAME
    back, meant = module.read(text), issue_of(issue, format)
    assert [entry.id for entry in back.entries] == [entry.id for entry in meant.entries]
    for got, wanted in zip(back.entries, meant.entries, strict=True):
        assert (got.title, got.version) == (wanted.title, wanted.version)
        for name in ("abstract", "authors", "categories", "date"):
            told = getattr(got, name)
            assert told is None or told == getattr(wanted, name), name
    assert "<script" not in text and "diffolio run fouriscale" in text


@pytest.mark.parametrize("format", ["topic-list", "overview", "blog"])
def test_an_empty_issue_is_read_back(empty: Digest, format: str) -> None:
    assert format == sniff(render(empty, format)).NAME


def test_the_blog_names_who_wrote_its_summaries(issue: Digest) -> None:
    text = render(issue, "blog")
    assert "written by a model for the digest weekly-made" in text and "not in the record" in text
    silent = replace(issue, entries=tuple(replace(entry, summary=None) for entry in issue.entries))
    assert "Summaries:" not in render(silent, "blog")
