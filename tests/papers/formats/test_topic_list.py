from __future__ import annotations

from pathlib import Path

import pytest

from diffolio.errors import BadInput
from diffolio.papers.formats import topic_list
from diffolio.papers.record import Entry, Issue

FIXTURES = Path(__file__).parents[1] / "fixtures"
API = (FIXTURES / "topic_list_api.md").read_text(encoding="utf-8")
FRONT = (FIXTURES / "topic_list_front.md").read_text(encoding="utf-8")
PAGE = (FIXTURES / "topic_list_page.md").read_text(encoding="utf-8")


def test_header_says_topic_series_date_words_and_count():
    issue = topic_list.read(API)
    assert (issue.topic, issue.series, issue.first, issue.last) == ("3D", "our-daily-list", "2024-03-21", "2024-03-21")
    assert (issue.raw["keywords"], issue.raw["filter"], issue.raw["count"]) == ("`3D`", "`medical` `heat`", "2")
    assert issue.warnings == ()


def test_links_with_and_without_version():
    assert [(e.id, e.version, e.url) for e in topic_list.read(API).entries] == [
        ("2403.90021", 2, "https://arxiv.org/abs/2403.90021v2"),
        ("2403.90020", 1, "https://arxiv.org/abs/2403.90020v1"),
    ]
    assert topic_list.read(PAGE).entries[0].version is None
    assert topic_list.read(API).entries[0].raw["link"] == "http://arxiv.org/abs/2403.90021v2"


def test_cut_authors_empty_authors_and_brackets_in_titles():
    first, second, third = topic_list.read(PAGE).entries
    assert len(first.authors) == 6 and first.authors_cut
    assert second.authors is None and not second.authors_cut
    assert second.title == "T2* Maps [and a Bracket] of `Small` Ponds"
    assert second.abstract.endswith("a </details> in the middle.")
    assert (third.authors, third.authors_cut, third.categories) == (("Gus Only",), False, ("cs.CV", "cs.AI"))


def test_front_page_has_no_categories_and_closed_details():
    issue = topic_list.read(FRONT)
    assert [(e.id, e.categories, e.raw["details"][:9]) for e in issue.entries] == [
        ("2403.90031", None, "<details>"),
        ("2403.90032", None, "<details>"),
    ]
    assert issue.topic is None and issue.last == "2024-03-22"


def test_date_from_the_file_name_where_the_heading_has_none():
    assert topic_list.read(FRONT.replace("Updated 2024-03-22.", ""), path="lists/2024-03-25.md").last == "2024-03-25"
    with pytest.raises(BadInput, match="needs its date"):
        topic_list.read(FRONT.replace("Updated 2024-03-22.", ""), path="lists/today.md")


def test_wrong_count_badge_is_a_warning_with_both_numbers():
    issue = topic_list.read(API.replace("Papers-2-", "Papers-7-"))
    assert issue.warnings == ("line 3: the badge says 7 papers, the file has 2",)


def test_duplicate_entry_is_a_warning_with_both_lines():
    block = "- **[Spoons]" + API.split("- **[Spoons]")[1]
    issue = topic_list.read(API.replace("Papers-2-", "Papers-3-") + "\n" + block)
    assert [e.id for e in issue.entries] == ["2403.90021", "2403.90020", "2403.90020"]
    assert issue.warnings == (
        f"line {issue.entries[2].lines[0]}: 2403.90020 is listed already in line {issue.entries[1].lines[0]}",
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  _Jan Only_\n", "", "2403.90020 has no authors"),
        ("  Spoons are bent.\n", "", "2403.90020 has no abstract"),
        ("(http://arxiv.org/abs/2403.90020v1)", "()", "the entry of 2403.90020 has no link"),
        ("2403.90020v1)", "2403.90021v1)", "links 'http://arxiv.org/abs/2403.90021v1'; the badge counts"),
        ("[Spoons]", "[ ]", "2403.90020 has no title"),
    ],
)
def test_missing_parts_are_warnings(old, new, told):
    issue = topic_list.read(API.replace(old, new))
    assert len(issue.entries) == 2
    assert len(issue.warnings) == 1 and told in issue.warnings[0]
    assert topic_list.write(issue) == API.replace(old, new)


@pytest.mark.parametrize(
    ("id", "told"),
    [
        ("2413.00020", "month 13"),
        ("2403.9002", "5 digits"),
        ("1402.90020", "4 digits"),
        ("hep-zz/9901001", "hep-zz"),
        ("24xx.1", "neither"),
    ],
)
def test_ids_that_cannot_be_are_skipped_with_the_reason(id, told):
    text = API.replace("2403.90020", id)
    issue = topic_list.read(text)
    assert [e.id for e in issue.entries] == ["2403.90021"]
    assert told in issue.warnings[-1] or told in issue.warnings[0]
    assert any("skipped" in warning for warning in issue.warnings)
    assert topic_list.write(issue) == text


def test_an_old_style_id_is_read_and_a_future_one_is_a_warning():
    assert topic_list.read(API.replace("2403.90020", "hep-th/9901001")).entries[1].id == "hep-th/9901001"
    issue = topic_list.read(API.replace("2403.90020", "2611.90020"))
    assert "a month after the issue's date" in issue.warnings[0]


def test_an_entry_inside_an_entry_ends_the_first():
    inner = "- **[Inner](http://arxiv.org/abs/2403.90022v1)**  `arXiv:2403.90022`  `cs.CV`  \n"
    text = API.replace("  Spoons are bent.\n", "  Spoons are\n" + inner)
    issue = topic_list.read(text)
    assert [e.id for e in issue.entries] == ["2403.90021", "2403.90020", "2403.90022"]
    assert issue.entries[1].abstract == "Spoons are"
    assert any("not closed" in warning for warning in issue.warnings)
    assert topic_list.write(issue) == text


def test_a_date_that_does_not_exist_is_refused():
    with pytest.raises(BadInput, match="line 1: the date 2024-02-30 does not exist"):
        topic_list.read(API.replace("2024-03-21", "2024-02-30"))


def test_an_issue_without_entries():
    head = API.split("- **")[0]
    issue = topic_list.read(head)
    assert issue.entries == () and issue.warnings == ("line 3: the badge says 2 papers, the file has 0",)
    assert topic_list.write(issue) == head


def test_a_path_in_the_name_of_a_series_stays_a_name():
    issue = topic_list.read(API.replace("someone/our-daily-list/", "someone/..\\..\\etc/"))
    assert issue.series == "etc"
    clean = topic_list.write(Issue("topic-list", "../../x/./y", "T", "2024-01-01", "2024-01-02", ()), mode="clean")
    assert topic_list.read(clean).series == "x-y"


def test_a_line_of_many_brackets_takes_no_time():
    import time

    start = time.process_time()
    for part in ("](", ")**", "`arXiv:", "- **[", "  </details>\n", "\n- **[x](", "# 1 Papers "):
        try:
            topic_list.read(API + "- **[" + part * 100_000)
        except BadInput:
            continue
    assert time.process_time() - start < 5


def test_notes_are_printed_and_not_read():
    entry = Entry("2403.90001", {}, "Title", "Text.", 1)
    issue = Issue("topic-list", "s", "T", "2024-03-01", "2024-03-01", (entry,))
    text = topic_list.write(issue, mode="clean", notes={"2403.90001": "runs: `diffolio run x`"})
    assert "diffolio run x" in text
    again = topic_list.read(text)
    assert (again.entries[0].title, again.entries[0].abstract, again.entries[0].authors) == ("Title", "Text.", None)
