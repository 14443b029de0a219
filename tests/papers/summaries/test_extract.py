"""Extractive summaries: always verbatim, short, and with the sentence that says what the paper offers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffolio.errors import BadInput, UnknownName
from diffolio.papers.formats import read
from diffolio.papers.record import Record
from diffolio.papers.summaries import Summary, extract, scan, words
from diffolio.papers.summaries.quantities import quantities
from tests.papers.seeds import NAMES, seed
from tests.papers.summaries.cases import RECORDS, TIDE

PROPOSALS = Path(__file__).parent / "proposals.json"


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())
def test_sentences_are_verbatim_with_their_place(record: Record) -> None:
    summary = extract(record)
    assert 2 <= len(summary.bullets) <= 4
    for bullet in summary.bullets:
        assert bullet.span and bullet.text == (record.abstract or "")[slice(*bullet.span)]
    assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary


def test_what_the_parts_are() -> None:
    summary = extract(TIDE)
    assert summary.of("what")[0].text.startswith("We propose TideNet")
    assert summary.of("result")[0].text.startswith("On KelpSet-10M")
    assert summary.code == "https://github.com/tide-lab/TideNet"


def test_wrapped_and_glued_abstracts_are_taken_as_they_stand() -> None:
    text = (
        "Motion is\n  hard in many cases.However, we propose\n  Tide, a new model. Results show\n  that it is better than others."
    )
    summary = extract(Record("2403.00001", "api", "Tide: Motion", text))
    assert [b.text for b in summary.bullets if b.part == "what"] == ["However, we propose\n  Tide, a new model."]


@pytest.mark.parametrize("abstract", [None, "", "   ", "...", "One sentence only."])
def test_little_or_nothing_gives_little_or_nothing(abstract: str | None) -> None:
    assert len(extract(Record("2403.00001", "api", "T", abstract)).bullets) == int(abstract == "One sentence only.")


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.text(max_size=600))
def test_any_abstract(text: str) -> None:
    for bullet in extract(Record("2403.00001", "api", "T", text)).bullets:
        assert bullet.span and bullet.text == text[slice(*bullet.span)] != ""


def test_the_proposal_sentence_of_real_papers() -> None:
    marked = json.loads(PROPOSALS.read_text(encoding="utf-8"))
    hits = total = 0
    for name in NAMES:
        for entry in read(seed(name).decode("utf-8-sig")).entries:
            places = {len("".join((entry.abstract or "")[: b.span[0]].split())) for b in extract(entry).bullets if b.span}
            hits += any(abs(place - there) <= 3 for place in places for there in marked[entry.id])
            total += 1
    assert total == 126 and hits / total >= 0.9


def test_a_newer_body_is_refused() -> None:
    with pytest.raises(BadInput, match="schema 99"):
        Summary.from_json({"schema": 99})
    with pytest.raises(BadInput, match="not the body"):
        Summary.from_json({"bullets": [{"colour": 1}]})


def test_every_language_has_every_label() -> None:
    assert set(words.LANGUAGES) >= {"en", "zh", "ja", "ko", "de", "fr", "es", "pt", "ru"}
    for language in words.LANGUAGES:
        assert set(words.labels(language)) == set(words.labels("en")), language
    with pytest.raises(UnknownName, match="fr"):
        words.labels("fx")


@pytest.mark.parametrize(
    ("text", "values", "unit", "hedge"),
    [
        ("up to 11.9%", {11.9}, "%", "upper"), ("no less than 3 GB", {3}, "GB", "lower"), ("不少于 3 GB", {3}, "GB", "lower"),
        ("20亿", {2e9}, None, None), ("two billion", {2e9}, None, None), ("1.5M", {1.5e6}, None, None), ("10k", {1e4}, None, None),
        ("百分之50", {50}, "%", None), ("8 倍", {8}, "×", None),
        ("8-fold", {8}, "×", None), ("×4", {4}, "×", None), ("2,64 dB", {2.64}, "dB", None), ("10,000", {1e4, 10}, None, None),
        ("10^-3", {1e-3}, None, None), ("3.2 × 10^5", {3.2e5}, None, None), ("over 30%", {30}, "%", "lower"),
        ("over 3 seeds", {3}, None, None), ("30% or more", {30}, "%", "lower"), ("100 张以上", {100}, None, "lower"),
        ("не менее 5 ГБ", {5}, "GB", "lower"), ("最大で約 3 秒", {3}, "s", "about"), ("8배 이상", {8}, "×", "lower"),
    ],
)  # fmt: skip
def test_quantities(text: str, values: set[float], unit: str | None, hedge: str | None) -> None:
    found = [q for q in quantities(text) if q.values == values]
    assert [(q.unit, q.hedge) for q in found] == [(unit, hedge)]


@pytest.mark.parametrize(
    "text", ["GPT-4", "3D", "T3Bench", "WebVid-10M", "[39]", "arXiv:2403.01234", "https://x.org/12", "1) one"]
)
def test_digits_that_are_no_quantities(text: str) -> None:
    assert quantities(text) == []


def test_chained_quantities_share_unit_and_hedge() -> None:
    assert [(q.unit, q.hedge) for q in quantities("up to 11.9/12.1%")] == [("%", "upper"), ("%", "upper")]


def test_sentences_of_many_languages() -> None:
    text = "We use e.g. Adam et al. data. Then we stop! 这是一句。又一句。Ist das gut? Ja."
    assert [text[a:b] for a, b in scan.sentences(text)] == [
        "We use e.g. Adam et al. data.", "Then we stop!", "这是一句。", "又一句。", "Ist das gut?", "Ja.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code"),
    [("We show that the model is good.", "en"), ("我们提出了一种新方法。", "zh"), ("新しい手法を提案する。", "ja"),
     ("새로운 방법을 제안한다.", "ko"),
     ("Мы предлагаем новый метод.", "ru"), ("Wir stellen das Verfahren vor und die Ergebnisse sind gut.", "de"),
     ("Nous présentons une méthode pour les images et la vidéo.", "fr"), ("Se presenta un método para las imágenes y el vídeo.", "es"),
     ("Apresentamos um método para as imagens e não para o texto.", "pt")],
)  # fmt: skip
def test_language(text: str, code: str) -> None:
    assert scan.language(text) == code
