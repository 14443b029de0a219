from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from diffolio.errors import BadInput
from diffolio.papers.formats import blog
from diffolio.papers.formats.notes import fields_of

FIXTURES = Path(__file__).parents[1] / "fixtures"
TEXT = (FIXTURES / "blog.md").read_text(encoding="utf-8")
VARIANTS = (FIXTURES / "blog_variants.md").read_text(encoding="utf-8")


def front(lines: str) -> str:
    return TEXT.replace("toc_number: false\n", f"toc_number: false\n{lines}\n")


def test_front_matter_and_entries():
    issue = blog.read(TEXT)
    assert (issue.topic, issue.series, issue.first, issue.last) == (
        "Toy Models",
        "Somebody Toy Models",
        "2024-03-28",
        "2024-03-28",
    )
    first, second = issue.entries
    assert (first.id, first.version, first.authors) == ("2403.90051", 1, ("Mia Example", "Ned Sample, Jr.", "Olé Ünal"))
    assert first.comments == "CVPR 2024, project page:   https://example.org/puppets/"
    assert second.comments is None
    assert second.abstract == "## a heading of their own Tops spin for up to 9 seconds."
    assert issue.warnings == ()


def test_what_a_model_wrote_is_a_summary_and_no_fact():
    told = blog.read(TEXT).entries[0].summary
    assert (told.language, told.summary, told.takeaways) == ("zh", "木偶由线牵动。", ("木偶是木头做的。", "线很长。"))
    assert told.fields == {
        "title": "木偶", "authors": "某人", "affiliation": "某大学", "keywords": "木偶、线", "code": "无",
        "links": "https://arxiv.org/abs/2403.90051",
        "background": "木偶很古老。", "prior_work": "线会打结。", "method": "我们换了线。 换线； 再换线。", "results": "不再打结。",
        "conclusion": "木偶动了。", "innovation": "新线。", "performance": "很好。", "workload": "不大。",
    }  # fmt: skip
    assert "<li>标题：木偶</li>" in told.raw
    assert blog.read(TEXT).entries[1].summary.takeaways == ("陀螺转。", "它会停。")


def test_sections_labels_missing_blocks_and_a_missing_blank_line():
    issue = blog.read(VARIANTS)
    assert (issue.first, issue.last) == ("2024-03-27", "2024-03-28")
    assert [(e.id, e.authors, e.comments) for e in issue.entries] == [
        ("2403.90061", ("Quin Example",), "Accepted"),
        ("2403.90062", ("Rob Sample",), None),
        ("2403.90063", ("Sue Only",), None),
    ]
    assert [e.summary and (e.summary.summary, e.summary.takeaways) for e in issue.entries] == [
        ("弹珠会滚。", ("圆的。",)),
        ("骰子会落。", ("有六面。",)),
        None,
    ]
    assert issue.warnings == ()


@pytest.mark.parametrize("label", ["关键要点", "主要要点", "关键见解", "Key Takeaways:", "要点："])
def test_label_variants(label):
    issue = blog.read(TEXT.replace("**要点**", f"**{label}**"))
    assert issue.entries[0].summary.takeaways == ("木偶是木头做的。", "线很长。")


@pytest.mark.parametrize(
    ("lines", "told"),
    [("x: &a [1]", "anchor"), ("x: &a 1\ny: *a", "anchor"), ("x: !!python/object/apply:os.system ['true']", "tag"), ("x: !y 1", "tag"),
     ("x: " + "[" * 50 + "]" * 50, "deeper than 8"), ("x: " + "[" * 5000, "deeper than 8")],
    ids=["anchor", "alias", "python tag", "tag", "deep", "deep and open"],
)  # fmt: skip
def test_unsafe_front_matter_is_refused(lines, told):
    with pytest.raises(BadInput, match=told):
        blog.read(front(lines))


def test_front_matter_of_a_million_keys_is_refused_at_once():
    start = time.process_time()
    with pytest.raises(BadInput, match="at most 32,768"):
        blog.read(front("\n".join(f"key{n}: {n}" for n in range(1_000_000))))
    assert time.process_time() - start < 5


def test_front_matter_that_is_not_yaml_is_read_line_by_line():
    issue = blog.read(TEXT.replace("title: Toy Models", "title: Toy: Models: a view"))
    assert issue.topic == "Toy: Models: a view"
    assert "not YAML" in issue.warnings[0]


def test_dates_that_do_not_exist_are_refused():
    with pytest.raises(BadInput, match="2024-02-31 does not exist"):
        blog.read(TEXT.replace("# 2024-03-28 更新", "# 2024-02-31 更新"))
    dateless = TEXT.replace("# 2024-03-28 更新\n", "")
    assert blog.read(dateless).last == "2024-03-28"
    with pytest.raises(BadInput, match="needs its date"):
        blog.read(dateless.replace("date: 2024-03-28 10:56:57", "date:"))


@pytest.mark.parametrize(
    ("old", "new", "told", "left"),
    [
        ("**Authors:Pia Only**\n\n", "", "2403.90050 has no authors", 2),
        ("[PDF](http://arxiv.org/abs/2403.90050v3) \n\n", "", "no [PDF] link, so no arXiv id; skipped", 1),
        ("abs/2403.90050v3", "abs/2413.90050v3", "month 13", 1),
        ("abs/2403.90050v3", "abs/2503.90050v3", "a month after", 2),
        ("## a heading of their own\nTops spin for up to 9 seconds. \n\n", "", "2403.90050 has no abstract", 2),
    ],
)
def test_what_is_missing_or_wrong_is_a_warning(old, new, told, left):
    text = TEXT.replace(old, new)
    assert text != TEXT
    issue = blog.read(text)
    assert len(issue.entries) == left
    assert any(told in warning for warning in issue.warnings)
    assert blog.write(issue) == text


def test_a_clean_blog_is_ours_and_valid():
    text = blog.write(blog.read(TEXT), mode="clean", labels=("Résumé", "Points clés"), updated="mis à jour")
    _, matter, body = text.split("---\n", 2)
    assert yaml.safe_load(matter)["title"] == "Toy Models"
    assert "# 2024-03-28 mis à jour" in body and body.count("**Résumé**") == 2
    assert "example.org/tool" not in text and "cover" not in text
    assert "written by a model" in body
    again = blog.read(text)
    assert [e.summary.takeaways for e in again.entries] == [e.summary.takeaways for e in blog.read(TEXT).entries]
    assert [e.summary.fields for e in again.entries] == [e.summary.fields for e in blog.read(TEXT).entries]


def test_who_wrote_the_summaries_is_a_parameter():
    assert "> Summaries: extractive\n" in blog.write(blog.read(TEXT), mode="clean", notice="Summaries: extractive")


def test_strange_blocks_take_no_time():
    start = time.process_time()
    for part in ("1", "1.", "（1）", "\n", "：", "<", "方法", "\n1) ", "; ", " "):
        fields_of(part * (200_000 // len(part)))
    for part in ("**[", "](", "**Summary**\n", "[PDF](x)\n", "## x\n\n", "<details>\n", "---\n"):
        blog.read(TEXT + part * 20_000)
    assert time.process_time() - start < 10
