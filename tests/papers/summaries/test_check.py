"""The fact check on sentences of our own: what it must find, what it must leave alone, and what it does about it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffolio.errors import BadInput
from diffolio.papers.record import ImportedSummary, Record
from diffolio.papers.summaries import (
    CONTRADICTED,
    NOT_IN_RECORD,
    SUPPORTED,
    UNCHECKED,
    Bullet,
    Source,
    Summary,
    check,
    check_imported,
    extract,
    settle,
    settled_summary,
)
from tests.papers.seeds import seed
from tests.papers.summaries.cases import PAR, RECORDS, RIGHT, TIDE, WRONG
from tests.papers.summaries.gold import caught, gold, reports


@pytest.mark.parametrize(("kind", "record", "text", "needle", "finding"), WRONG)
def test_finds(kind: str, record: str, text: str, needle: str, finding: str) -> None:
    report = check(text, RECORDS[record])
    a = text.index(needle)
    b = a + len(needle)
    found = [f for f in report.findings if f.kind == finding and f.verdict != SUPPORTED and f.span[0] < b and a < f.span[1]]
    assert found, f"{[(f.kind, f.verdict, text[slice(*f.span)], f.why) for f in report.findings]}"
    if kind == "C" or finding == "hedges":
        assert any(f.verdict == CONTRADICTED for f in found)
    if kind == "U" and finding != "people":
        assert any(f.verdict == NOT_IN_RECORD for f in found)


def test_there_are_thirty_of_each_kind() -> None:
    counts = Counter(kind for kind, *_ in WRONG)
    assert set(counts) == set("CLUF") and min(counts.values()) >= 30 and len(RIGHT) >= 30


@pytest.mark.parametrize(("record", "text"), RIGHT)
def test_leaves_alone(record: str, text: str) -> None:
    report = check(text, RECORDS[record])
    assert [(f.kind, text[slice(*f.span)], f.why) for f in report.findings if f.verdict != SUPPORTED] == []


def test_every_marked_error_of_the_real_issue() -> None:
    found = reports(seed("003").decode("utf-8"))
    missed = [(error.paper, error.kind, error.what) for error in gold() if error.marked and not caught(error, found[error.paper])]
    assert missed == []


def test_the_gold_finder_can_miss() -> None:
    error = next(error for error in gold() if error.what == "affiliation")
    assert not caught(error, check("nothing here", TIDE))


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())
def test_an_extractive_summary_is_wholly_supported(record: Record) -> None:
    report = check(extract(record), record)
    assert report.statements and report.tally()[SUPPORTED] == len(report.statements)


def test_spans_point_into_the_raw_text() -> None:
    text = "<li>方法：在 <strong>DTR</strong> 上 &amp; 测试</li>"
    names = check(text, TIDE).of_kind("names")
    assert [text[slice(*finding.span)] for finding in names] == ["DTR"]


def test_a_list_mark_is_no_number() -> None:
    assert not check("1. TideNet denoises video.\n2) It has (3) parts.\n（4）更快", TIDE).of_kind("numbers")


def test_what_only_the_paper_says_is_reported_as_such() -> None:
    report = check("It was trained on 64 GPUs with ImageNet.", TIDE, paper="We train on ImageNet with 64 GPUs.")
    assert {f.kind for f in report.findings if f.in_paper} == {"numbers", "names"}
    assert report.verdict == NOT_IN_RECORD


def test_a_number_said_of_something_else_contradicts() -> None:
    wrong = "On KelpSet-10M and DTRB, TideNet outperforms earlier methods by up to 3.5 dB in PSNR and is 8 times faster"
    assert [f.verdict for f in check(wrong, TIDE).of_kind("numbers")] == [CONTRADICTED]


def _endpoint(*bullets: Bullet) -> Summary:
    return Summary(TIDE.id, "endpoint", "zh", bullets, model="m")


def test_a_quote_must_stand_in_the_source_and_hold_the_bullet() -> None:
    good = "by up to 2.7 dB in PSNR and is 8 times faster"
    report = check(
        _endpoint(
            Bullet("results", "PSNR 最高提升 2.7 dB，速度提高 8 倍。", good),
            Bullet("results", "速度提高 8 倍。", "is 8 times quicker"),
            Bullet("results", "需要至少 4 GB。", good),
            Bullet("results", "在 KelpSet-10M 上更快。", good),
        ),
        TIDE,
    )
    assert [s.verdict for s in report.statements] == [SUPPORTED, CONTRADICTED, CONTRADICTED, NOT_IN_RECORD]
    assert [s.kind for s in report.statements] == [None, "quotes", "numbers", "names"]


def test_settle_replaces_drops_and_marks() -> None:
    text = "作者：Ana Muller, Bo Chen\n代码：无\n单位：某某大学\n要点：\n- 使用 Transformer。\n- 速度提高 9 倍。\n- 分两个阶段。"
    report = check(text, TIDE)
    shown = {s.part: s for s in settle(report).shown}
    assert shown["authors"].text == "Ana Müller, Bo Chen, Çelik Öztürk, Dana O'Neil"
    assert shown["code"].text == "https://github.com/tide-lab/TideNet"
    assert shown["affiliation"].mark == NOT_IN_RECORD
    texts = [s.text for s in settle(report).shown if s.part == "takeaways"]
    assert texts == ["使用 Transformer。", "分两个阶段。"]
    strict = settle(report, strict=True)
    assert [s.text for s in strict.shown if s.part == "takeaways"] == ["分两个阶段。"]
    assert "affiliation" not in {s.part for s in strict.shown} and len(strict.log) == 5


def test_settled_summary_keeps_what_holds() -> None:
    kept = Bullet("results", "速度提高 8 倍。", "is 8 times faster")
    summary = _endpoint(kept, Bullet("results", "速度提高 9 倍。", "is 8 times faster"))
    assert settled_summary(summary, check(summary, TIDE)).bullets == (kept,)


def test_an_imported_summary_is_checked_with_what_its_reading_adds() -> None:
    summary = ImportedSummary("<p>作者：张三</p>", "zh", "速度提高 9 倍。", ("分两个阶段。",), {})
    assert {f.kind for f in check_imported(summary, TIDE).findings} >= {"people", "numbers"}


def test_a_record_without_authors_cannot_judge_them() -> None:
    bare = Record(id="2403.01234", source="digest", title="T", abstract="We propose a thing.")
    assert [f.verdict for f in check("Authors: Someone Else", bare).findings] == [UNCHECKED]


def test_the_report_survives_the_store() -> None:
    import json

    report = check("代码：无", TIDE)
    body = json.loads(json.dumps(report.to_json()))
    assert body["verdict"] == CONTRADICTED and body["statements"][0]["findings"][0]["kind"] == "code"


def test_an_endless_text_is_refused() -> None:
    with pytest.raises(BadInput, match="no summary"):
        check("a" * 100_001, TIDE)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.text(max_size=400) | st.text(alphabet="(（1)）. :：\n<li></>\\${}^%&;无码代 作者Authors[],-*0,9", max_size=300))
def test_any_text_gives_a_report(text: str) -> None:
    report = check(text, PAR)
    for finding in report.findings:
        a, b = finding.span
        assert 0 <= a <= b <= len(text)


def test_a_hostile_text_is_checked_in_time() -> None:
    import time

    for hostile in ("1,", "(", "<li>", "\\a", "作者：", "10^", "a-", "A1 ", "http://a", "[1", "not code ", "3 "):
        begun = time.process_time()
        check(hostile * (8_000 // len(hostile)), TIDE)
        assert time.process_time() - begun < 3, hostile


def test_source_takes_anything_with_a_records_fields() -> None:
    source = Source.of(TIDE)
    assert source.authors == ("Ana Müller", "Bo Chen", "Çelik Öztürk", "Dana O'Neil")
    assert source.urls_of("code") == ["https://github.com/tide-lab/TideNet"]
    assert source.urls_of("project") == ["https://tide-lab.github.io/tidenet"]
