"""What was read can be written back, to the byte; what a clean issue holds can be read back, to the field."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffolio.errors import BadInput, UnknownName
from diffolio.papers import formats
from diffolio.papers.formats.escaping import escape, escape_html, flat, unescape, unescape_html
from tests.papers.formats.generated import MAKERS, facts, plain_issue

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures").glob("*.md"))
FORMATS = sorted(MAKERS)
line = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=60)
fixed = settings(derandomize=True, max_examples=200, deadline=None)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_fixtures_are_written_back_to_the_byte(path):
    text = path.read_text(encoding="utf-8")
    assert formats.write(formats.read(text, path=str(path))) == text


@pytest.mark.parametrize("format", FORMATS)
def test_generated_issues_are_read_and_written_back_from_their_parts(format):
    entries = 0
    for seed in range(60):
        text, made = MAKERS[format](random.Random(f"{format} {seed}"))
        issue = formats.read(text)
        assert issue.format == format
        assert [facts(format, entry) for entry in issue.entries] == [facts(format, entry) for entry in made]
        assert formats.write(issue) == text
        assert not any("text" in entry.raw for entry in issue.entries), "kept whole where the parts should do"
        assert [text.split("\n")[entry.lines[0] - 1][:3] for entry in issue.entries] == [
            "- *" if format == "topic-list" else "## "
        ] * len(made)
        entries += len(made)
    assert entries > 100


@pytest.mark.parametrize("format", FORMATS)
def test_clean_issues_are_read_back_to_the_field(format):
    for seed in range(60):
        issue = plain_issue(random.Random(f"clean {format} {seed}"), format)
        again = formats.read(formats.write(issue, mode="clean"))
        assert [facts(format, entry) for entry in again.entries] == [facts(format, entry) for entry in issue.entries]
        assert (again.series, again.topic, again.first, again.last) == (issue.series, issue.topic, issue.first, issue.last)
        assert formats.write(again, mode="clean") == formats.write(issue, mode="clean")


@pytest.mark.parametrize("format", FORMATS)
@given(title=line, abstract=st.text(st.characters(exclude_categories=("Cs",)), max_size=80), name=line)
@fixed
def test_any_text_survives_a_clean_issue(format, title, abstract, name):
    from diffolio.papers.record import Entry, Issue

    entry = Entry("2403.90001", {}, title, abstract or None, 1, authors=(name,) if flat(name) else None, comments=title or None)
    text = formats.write(Issue(format, "s", None, "2024-03-01", "2024-03-02", (entry,)), mode="clean")
    (again,) = formats.read(text).entries
    assert again.id == entry.id
    assert flat(again.title) == flat(title)
    assert flat(again.abstract or "") == flat(abstract).strip()


@pytest.mark.parametrize("format", FORMATS)
@given(title=line, abstract=line)
@fixed
def test_any_title_and_abstract_survive_a_faithful_issue(format, title, abstract):
    text, made = MAKERS[format](random.Random(3 if format == "blog" else 1))
    assert made
    text = text.replace(made[0].title, title, 1).replace(made[0].abstract or "", abstract, 1)
    try:
        issue = formats.read(text)
    except BadInput:
        return
    assert formats.write(issue) == text


@given(line)
@fixed
def test_escapes_are_undone(text):
    for spans in (True, False):
        assert unescape(escape(text, spans)) == flat(text)
    assert unescape_html(escape_html(text)) == flat(text)


@pytest.mark.parametrize(
    "text", ["- x", "+ x", "12. x", "3) x", "# x", "> x", "=== x", "---", "```", "~~~", "<script>alert(1)</script>", "[a](javascript:x)",
             "![a](http://x)", "&copy; &lt;", "*a* _b_ __c__ **d**", "a\\b \\*", "`code`", "snake_case", "<!-- x -->", "$5 and $6"],
)  # fmt: skip
def test_escaped_text_shows_itself_and_nothing_acts(text):
    import html
    import re

    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True})
    shown = markdown.render(escape(text))
    assert html.unescape(re.sub(r"</?p>\n?", "", shown)).strip() == text
    assert "<" not in re.sub(r"</?p>", "", shown)


@pytest.mark.parametrize("format", FORMATS)
def test_script_in_any_field_is_dead_in_a_clean_issue(format):
    from diffolio.papers.record import Entry, ImportedSummary, Issue

    bad = "<script>alert(1)</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) </details> $<b>$"
    told = ImportedSummary(bad, "en", bad, (bad,), {"method": bad, "<b>": "x"})
    entry = Entry(
        "2403.90001", {}, bad, bad, 1, "javascript:alert(1)", (bad,), True, ("<b>`x`</b>",), "2024-03-01", bad, summary=told
    )
    issue = Issue(format, bad, bad, "2024-03-01", "2024-03-02", (entry,), {"keywords": bad, "heading": bad})
    text = formats.write(issue, mode="clean", notes={"2403.90001": bad})
    shown = text.split("-->", 1)[1] if format != "blog" else text.split("---\n", 2)[2].split("-->", 1)[1]
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True})
    page = markdown.render(shown)
    for word in ("<script", "<img src=x", 'href="javascript', "<b>x", "<b>$"):
        assert word not in page
    (again,) = formats.read(text).entries
    assert (again.title, again.abstract) == (bad, bad)


def test_nothing_is_lost_where_a_file_departs_from_its_grammar():
    rng = random.Random(7)
    for path in FIXTURES:
        text = path.read_text(encoding="utf-8")
        for _ in range(40):
            lines = text.split("\n")
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(len(lines))
                match rng.randrange(4):
                    case 0:
                        del lines[at]
                    case 1:
                        lines.insert(at, lines[rng.randrange(len(lines))])
                    case 2:
                        lines[at] = lines[at][: rng.randint(0, len(lines[at]))]
                    case 3:
                        lines[at] += rng.choice((" ", "](", "`", "</details>", "**"))
                lines = lines or [""]
            broken = "\n".join(lines)
            try:
                issue = formats.read(broken, path=str(path))
            except BadInput:
                continue
            assert formats.write(issue) == broken


def test_writing_says_what_it_needs():
    issue = plain_issue(random.Random(1), "overview")
    with pytest.raises(BadInput, match="mode='clean'"):
        formats.write(issue)
    with pytest.raises(UnknownName, match="overview"):
        formats.write(issue, format="overveiw", mode="clean")
    with pytest.raises(UnknownName, match="faithful"):
        formats.write(issue, mode="faithfull")


def test_unknown_formats_are_named_with_the_line_that_failed():
    with pytest.raises(formats.UnknownFormat) as told:
        formats.read("\n\nDear all,\nhere are the papers.\n")
    for name in FORMATS:
        assert f"{name}, line 3 ('Dear all,')" in str(told.value)
