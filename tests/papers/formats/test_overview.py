from __future__ import annotations

import time
from pathlib import Path

import pytest

from diffolio.errors import BadInput
from diffolio.papers.formats import overview

TEXT = (Path(__file__).parents[1] / "fixtures" / "overview.md").read_text(encoding="utf-8")


def test_window_is_the_headings_and_dates_are_the_entries():
    issue = overview.read(TEXT)
    assert (issue.first, issue.last, issue.series, issue.topic) == ("2024-03-15", "2024-03-20", "生成式论文概览", None)
    assert [(e.id, e.version, e.date) for e in issue.entries] == [
        ("2403.90044", 1, "2024-03-19"),
        ("2403.90043", 2, "2024-03-18"),
        ("2403.90042", 1, "2024-03-16"),
    ]
    assert issue.warnings == ()


def test_texts_are_taken_as_they_are():
    first, second, third = overview.read(TEXT).entries
    assert first.title == "Windmills: A   Frequency View of Sails"
    assert second.title == "Bread:Without a Space"
    assert second.abstract.startswith("Dateset of loaves that was untapped.This is")
    assert third.title == "## Owls"
    assert third.abstract == "An owl says: ## hoo and nothing else."


def test_a_date_that_does_not_exist_is_unknown_in_an_entry_and_refused_in_the_heading():
    text = TEXT.replace("  * 2024-03-18  ", "  * 2024-02-30  ")
    issue = overview.read(text)
    assert issue.entries[1].date is None
    assert "2403.90043 has no date that exists (2024-02-30)" in issue.warnings[0]
    assert overview.write(issue) == text
    with pytest.raises(BadInput, match="line 1: the date 2024-13-15 does not exist"):
        overview.read(TEXT.replace("2024-03-15--", "2024-13-15--"))


@pytest.mark.parametrize(
    ("old", "new", "told", "left"),
    [
        ("  * 2024-03-18  \n", "", "2403.90043 has no date", 3),
        ("  * An owl says:\n## hoo\nand nothing else. \n", "", "2403.90042 has no abstract", 3),
        (
            " * link:[http://arxiv.org/abs/2403.90043v2](http://arxiv.org/abs/2403.90043v2) \n",
            "",
            "no link, so no arXiv id; skipped",
            2,
        ),
        ("2403.90043v2](http://arxiv.org/abs/2403.90043v2", "2413.90043v2](http://arxiv.org/abs/2413.90043v2", "month 13", 2),
        ("2024-03-20 ", "2024-03-10 ", "the window ends before it begins", 3),
        ("2403.90043", "2705.90043", "a month after", 3),
    ],
)
def test_what_is_missing_or_wrong_is_a_warning(old, new, told, left):
    text = TEXT.replace(old, new)
    assert text != TEXT
    issue = overview.read(text)
    assert len(issue.entries) == left
    assert any(told in warning for warning in issue.warnings)
    assert overview.write(issue) == text


def test_stripped_spaces_change_nothing_but_the_layout():
    text = "\n".join(line.rstrip() for line in TEXT.split("\n"))
    issue = overview.read(text)
    assert [e.id for e in issue.entries] == ["2403.90044", "2403.90043", "2403.90042"]
    assert issue.entries[0].abstract == overview.read(TEXT).entries[0].abstract
    assert overview.write(issue) == text


def test_heading_is_a_parameter_of_a_clean_overview():
    issue = overview.read(TEXT)
    assert overview.write(issue, mode="clean").startswith("# 2024-03-15--2024-03-20 生成式论文概览\n")
    text = overview.write(issue, mode="clean", heading="Papers on mills", notes={"2403.90044": "runs: diffolio run mills"})
    assert text.startswith("# 2024-03-15--2024-03-20 Papers on mills\n") and "runs: diffolio run mills" in text
    assert [e.id for e in overview.read(text).entries] == [e.id for e in issue.entries]


def test_long_lines_take_no_time():
    start = time.process_time()
    for part in ("](", "## ", "\n## x\n  * ", " * link:[", "\n## x\n  * 2024-01-01  \n"):
        overview.read(TEXT + part * 50_000)
    assert time.process_time() - start < 5
