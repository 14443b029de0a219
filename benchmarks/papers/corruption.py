"""Made-up records whose facts are known, summaries of them in nine languages, and one planted error in each.

Nothing here uses the checker's own reading of a text: the truth comes from the templates, and the errors of real records'
sentences are planted with regular expressions of their own.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from diffolio.papers.record import Author, Record
from diffolio.papers.summaries import Source, extract
from diffolio.papers.summaries.words import LANGUAGES, labels

KINDS = ("id", "author", "link", "code", "number", "unit", "hedge", "name", "strength")
FINDINGS = {
    "id": {"ids"}, "author": {"people"}, "link": {"links", "ids"}, "code": {"code"}, "number": {"numbers"},
    "unit": {"numbers"}, "hedge": {"hedges"}, "name": {"names"}, "strength": {"strength"},
}  # fmt: skip

_TASKS = ("image restoration", "video generation", "pose estimation", "depth completion", "gaze prediction", "motion synthesis")
_GIVEN = ("Ada", "Björn", "Chloé", "Dmitri", "Emeka", "Fatma", "Gül", "Hana", "Iñigo", "Jun", "Klára", "Li", "Mei", "Ngozi")
_FAMILY = ("Åkesson", "Brandt", "Castro", "Dvořák", "Evans", "Fujita", "Grant", "Horvat", "Ivanova", "Jensen", "Keller", "Mora")
_SETS = (
    "KelpSet",
    "MoraBench",
    "DTRB",
    "WebTide-10M",
    "OrcaQA",
    "PlumeNet",
    "TerraVid",
    "HD-Loom",
    "SAR3D",
    "GlintDB",
    "VQX-2",
    "FernCity",
)
_METRICS = {"%": "accuracy", "dB": "PSNR", "×": "inference speed", "s": "sampling time", "GB": "memory"}
_HEDGED = {
    "en": {"upper": "up to ", "lower": "at least ", "about": "about ", None: ""},
    "zh": {"upper": "高达 ", "lower": "至少 ", "about": "约 ", None: ""},
    "ja": {"upper": "最大 ", "lower": "少なくとも ", "about": "約 ", None: ""},
    "ko": {"upper": "최대 ", "lower": "최소 ", "about": "약 ", None: ""},
    "de": {"upper": "bis zu ", "lower": "mindestens ", "about": "etwa ", None: ""},
    "fr": {"upper": "jusqu'à ", "lower": "au moins ", "about": "environ ", None: ""},
    "es": {"upper": "hasta ", "lower": "al menos ", "about": "aproximadamente ", None: ""},
    "pt": {"upper": "até ", "lower": "pelo menos ", "about": "cerca de ", None: ""},
    "ru": {"upper": "до ", "lower": "не менее ", "about": "около ", None: ""},
}
_UNITS = {
    "en": {"%": "%", "dB": " dB", "×": " times", "s": " seconds", "GB": " GB"},
    "zh": {"%": "%", "dB": " dB", "×": " 倍", "s": " 秒", "GB": " GB"},
    "ja": {"%": "%", "dB": " dB", "×": "倍", "s": "秒", "GB": " GB"},
    "ko": {"%": "%", "dB": " dB", "×": "배", "s": "초", "GB": " GB"},
    "de": {"%": " %", "dB": " dB", "×": "-mal", "s": " Sekunden", "GB": " GB"},
    "fr": {"%": " %", "dB": " dB", "×": " fois", "s": " secondes", "GB": " Go"},
    "es": {"%": " %", "dB": " dB", "×": " veces", "s": " segundos", "GB": " GB"},
    "pt": {"%": "%", "dB": " dB", "×": " vezes", "s": " segundos", "GB": " GB"},
    "ru": {"%": " %", "dB": " дБ", "×": " раза", "s": " секунды", "GB": " ГБ"},
}
_SAID = {
    "en": "On {name}, {own} reaches {q}.", "zh": "在 {name} 数据集上，{own} 达到了{q}。", "ja": "{name} では {own} が {q} に達した。",
    "ko": "{name}에서 {own}은 {q}를 기록했다.", "de": "Auf {name} erreicht {own} {q}.", "fr": "Sur {name}, {own} atteint {q}.",
    "es": "En {name}, {own} alcanza {q}.", "pt": "Em {name}, {own} alcança {q}.", "ru": "На {name} метод {own} достигает {q}.",
}  # fmt: skip
_PARITY = {
    "en": "{own} performs on par with earlier methods.", "zh": "{own} 的表现与以往方法相当。", "ja": "{own} は従来手法と同等の性能を示す。",
    "ko": "{own}은 기존 방법과 동등한 성능을 보인다.", "de": "{own} ist mit früheren Verfahren vergleichbar.",
    "fr": "{own} est comparable aux méthodes antérieures.", "es": "{own} es comparable a los métodos anteriores.",
    "pt": "{own} é comparável aos métodos anteriores.", "ru": "{own} сопоставим с прежними методами.",
}  # fmt: skip
_BETTER = {
    "en": (
        "{own} outperforms earlier methods.",
        "{own} is superior to earlier methods.",
        "{own} is better than earlier methods.",
    ),
    "zh": ("{own} 优于以往方法。", "{own} 超越了以往方法。", "{own} 的性能比以往方法更好。"),
    "ja": ("{own} は従来手法を上回る。", "{own} は従来手法より優れている。"),
    "ko": ("{own}은 기존 방법을 능가한다.", "{own}은 기존 방법보다 우수하다."),
    "de": ("{own} übertrifft frühere Verfahren.", "{own} ist besser als frühere Verfahren."),
    "fr": ("{own} surpasse les méthodes antérieures.", "{own} est meilleur que les méthodes antérieures."),
    "es": ("{own} supera a los métodos anteriores.", "{own} es mejor que los métodos anteriores."),
    "pt": ("{own} supera os métodos anteriores.", "{own} é melhor que os métodos anteriores."),
    "ru": ("{own} превосходит прежние методы.", "{own} лучше прежних методов."),
}
_FIRST = {
    "en": "It is the first method of its kind.", "zh": "这是首次提出的方法。", "ja": "この種の手法は初めてである。",
    "ko": "이는 최초의 방법이다.",
    "de": "Das gelingt erstmals.", "fr": "C'est la première méthode de ce type.", "es": "Se logra por primera vez.",
    "pt": "Isso é feito pela primeira vez.", "ru": "Это сделано впервые.",
}  # fmt: skip
_SOTA = {
    "en": "It achieves state-of-the-art performance.", "zh": "它取得了最先进的性能。", "ja": "最先端の性能を達成した。",
    "ko": "최첨단 성능을 달성했다.", "de": "Damit wird der Stand der Technik übertroffen.", "fr": "Elle atteint l'état de l'art.",
    "es": "Alcanza el estado del arte.", "pt": "Alcança o estado da arte.", "ru": "Метод достигает передового уровня.",
}  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """``{hedge} {value} {unit}`` measured on the data set ``name``."""

    value: str
    unit: str
    hedge: str | None
    name: str


@dataclass(frozen=True)
class Made:
    """A record and what is true of it."""

    record: Record
    own: str
    facts: tuple[Fact, ...]
    code: str | None


@dataclass(frozen=True)
class Case:
    """A summary of a record; ``touched``: where the error was planted; ``kind`` None for an untouched one."""

    record: Record
    text: str
    kind: str | None = None
    touched: tuple[int, int] = (0, 0)


def made(rng: random.Random) -> Made:
    """One record: its abstract claims parity only, and each of its numbers once."""
    own = "".join(rng.choice("BCDFGKLMNPRSTVZ") + rng.choice("aeiou") for _ in range(2)) + rng.choice(
        ("Net", "Diff", "GAN", "Flow", "3D")
    )
    task = rng.choice(_TASKS)
    units = rng.sample(list(_METRICS), 3)
    names = rng.sample(_SETS, 3)
    values = rng.sample(range(12, 990), 3)
    facts = tuple(
        Fact(f"{value / 10:.1f}" if rng.random() < 0.7 else str(value), unit, rng.choice(("upper", "lower", "about", None)), name)
        for value, unit, name in zip(values, units, names, strict=True)
    )
    said = [
        f"On {f.name}, it reaches {_HEDGED['en'][f.hedge]}{f.value}{_UNITS['en'][f.unit]} in {_METRICS[f.unit]}." for f in facts
    ]
    code = f"https://github.com/{own.lower()}-lab/{own}" if rng.random() < 0.7 else None
    abstract = " ".join(
        [f"Recent work on {task} struggles with long inputs.", f"We propose {own}, a diffusion model for {task} with shared latents.",
         "The method alternates two stages and needs no labels.", *said,
         "Overall it performs on par with earlier methods.", *([f"Code is available at {code}."] if code else [])]
    )  # fmt: skip
    people = rng.sample([f"{g} {f}" for g in _GIVEN for f in _FAMILY], rng.randint(2, 6))
    number = f"{rng.randint(19, 25)}{rng.randint(1, 12):02}.{rng.randint(1, 17999):05}"
    title = f"{own}: Shared Latents for {task.title()}"
    record = Record(id=number, source="api", title=title, abstract=abstract, authors=tuple(map(Author, people)), version=1,
                    comments=f"{rng.randint(8, 30)} pages; project page: https://{own.lower()}.github.io")  # fmt: skip
    return Made(record, own, facts, code)


def _block(record: Record, language: str, code: str | None, prose: list[str]) -> list[str]:
    """A labelled summary; the lines are [title, authors, paper, code, project, prose ...]."""
    names = labels(language)
    people = ", ".join(author.name for author in record.authors or ())
    links = Source.of(record).urls_of("project", "other")
    head = [
        f"{names['title']}: {record.title}",
        f"{names['authors']}: {people}",
        f"{names['paper']}: https://arxiv.org/abs/{record.id}",
        f"{names['code']}: {code or _none(language)}",
        *(f"{names['project']}: {link}" for link in links[:1]),
    ]
    return [*head, f"{names['results']}:", *(f"- {line}" for line in prose)]


def _none(language: str) -> str:
    return {
        "en": "none",
        "zh": "无",
        "ja": "なし",
        "ko": "없음",
        "de": "keine",
        "fr": "aucun",
        "es": "ninguno",
        "pt": "nenhum",
        "ru": "нет",
    }[language]


def _quantity(fact: Fact, language: str) -> str:
    comma = language in ("de", "fr", "es", "pt", "ru")
    value = fact.value.replace(".", ",") if comma else fact.value
    return f"{_HEDGED[language][fact.hedge]}{value}{_UNITS[language][fact.unit]}"


def told(one: Made, language: str) -> list[str]:
    """The prose of an honest summary."""
    facts = [_SAID[language].format(name=f.name, own=one.own, q=_quantity(f, language)) for f in one.facts]
    return [*facts, _PARITY[language].format(own=one.own)]


def untouched(one: Made, language: str) -> Case:
    return Case(one.record, "\n".join(_block(one.record, language, one.code, told(one, language))))


def corrupted(one: Made, other: Made, kind: str, language: str, rng: random.Random) -> Case | None:
    """The honest summary with one error of a kind, or None where the record gives no occasion for it."""
    lines = _block(one.record, language, one.code, told(one, language))
    first = len(lines) - len(one.facts) - 1
    at = first + rng.randrange(len(one.facts))
    fact = one.facts[at - first]
    quantity = _quantity(fact, language)
    if kind == "id":
        at, old, new = 2, one.record.id, other.record.id
    elif kind == "author":
        at, old = 1, rng.choice(one.record.authors or ()).name
        new = next(a.name for a in other.record.authors or () if a.name not in lines[1])
    elif kind == "link":
        places = [i for i, line in enumerate(lines) if "github" in line]
        at = rng.choice(places)
        old = lines[at].split(": ", 1)[1]
        new = old.replace(one.own, other.own).replace(one.own.lower(), other.own.lower())
    elif kind == "code":
        if not one.code:
            return None
        at, old, new = 3, one.code, _none(language)
    elif kind == "number":
        value = re.search(r"\d+(?:[.,]\d+)?", quantity)[0]  # type: ignore[index]
        digit = rng.randrange(len(value))
        changed = (
            value[:digit] + str((int(value[digit]) + rng.randint(1, 8)) % 10) + value[digit + 1 :]
            if value[digit].isdigit()
            else value + "7"
        )
        if any(changed.replace(",", ".") == f.value for f in one.facts) or changed.startswith("0"):
            changed = value + "3"
        old, new = value, changed
    elif kind == "unit":
        unit = rng.choice([u for u in _UNITS[language] if u != fact.unit])
        old, new = quantity, quantity.replace(_UNITS[language][fact.unit], _UNITS[language][unit])
    elif kind == "hedge":
        choices = [h for h in ("upper", "lower", None) if h != fact.hedge and not (fact.hedge is None and h == "about")]
        hedge = rng.choice(choices)
        old, new = quantity, _quantity(Fact(fact.value, fact.unit, hedge, fact.name), language)
    elif kind == "name":
        place = rng.randrange(1, len(fact.name))
        old, new = (
            fact.name,
            (fact.name[:place] + fact.name[place + 1 :])
            if rng.random() < 0.5
            else fact.name[:place] + "q" + fact.name[place + 1 :],
        )
        if new in _SETS or new.lower() == old.lower():
            return None
    else:
        at = len(lines) - 1
        old = lines[at][2:]
        new = rng.choice([*_BETTER[language], _FIRST[language], _SOTA[language]]).format(own=one.own)
    return _planted(one.record, lines, at, old, new, kind)


def _planted(record: Record, lines: list[str], at: int, old: str, new: str, kind: str) -> Case | None:
    if old == new or old not in lines[at]:
        return None
    start = sum(len(line) + 1 for line in lines[:at]) + lines[at].rindex(old)
    changed = [
        *lines[:at],
        lines[at][: lines[at].rindex(old)] + new + lines[at][lines[at].rindex(old) + len(old) :],
        *lines[at + 1 :],
    ]
    return Case(record, "\n".join(changed), kind, (start, start + max(1, len(new))))


_NUMBER = re.compile(
    r"(?<![\w.$^{}/-])\d{1,3}(?:\.\d+)?(?=(?:\\?%|dB|x\b| (?:times|seconds|GB|dB|images|videos|steps|hours|datasets|participants)))"
)
_HEDGE = re.compile(r"\b(?:up to|at least|more than|over|less than|only up to) (?=\d)")
_UNIT = re.compile(r"(?<=\d)(\\?%| ?dB\b| times\b| seconds\b| GB\b| hours\b)")
_NAME = re.compile(r"\b(?=\w*[A-Z]\w*[A-Z0-9])[A-Za-z][A-Za-z0-9]{3,}\b")
_ON_PAR = re.compile(
    r"\b(?:on[- ]par with|comparable (?:to|with)|competitive with|better or on-par|comparable"
    r"|competitive(?= (?:performance|results?|quality|accuracy)))\b"
)


def real(record: Record, other: Record, kind: str, language: str, rng: random.Random) -> Case | None:
    """An extractive summary of a real record, in a labelled block, with one planted error."""
    code = next(iter(Source.of(record).urls_of("code")), None)
    sentences = [" ".join(bullet.text.split()) for bullet in extract(record).bullets]
    lines = _block(record, language, code, sentences)
    first = len(lines) - len(sentences)
    if kind == "id":
        return _planted(record, lines, 2, record.id, other.id, kind)
    if kind == "author":
        people = [a.name for a in record.authors or ()]
        strange = [a.name for a in other.authors or () if a.name not in people]
        return _planted(record, lines, 1, rng.choice(people), rng.choice(strange), kind) if people and strange else None
    if kind in ("code", "link"):
        if not code:
            return None
        return _planted(record, lines, 3, code, _none(language) if kind == "code" else code[:-2] + "xq", kind)
    pattern = {"number": _NUMBER, "unit": _UNIT, "hedge": _HEDGE, "name": _NAME, "strength": _ON_PAR}[kind]
    found = [
        (i, m)
        for i in range(first, len(lines))
        for m in pattern.finditer(re.sub(r"https?:\S+", lambda u: " " * len(u[0]), lines[i]))
    ]
    if not found:
        return None
    at, match = rng.choice(found)
    old = match[0]
    if kind == "number":
        new = str(round(float(old) * rng.choice((0.5, 1.1, 2, 3)) + 1, 1)) if "." in old else str(int(old) + rng.randint(1, 40))
        tail = lines[at][match.end() :]
        return _planted(record, lines, at, old + tail, new + tail, kind)
    if kind == "unit":
        new = rng.choice([u for u in ("%", " dB", " times", " seconds", " GB") if u.strip() != old.strip("\\ ")])
    elif kind == "hedge":
        new = ""
    elif kind == "name":
        place = rng.randrange(1, len(old) - (old[-1] == "s"))  # a lost plural is no error
        new = old[:place] + (rng.choice("qxz") if rng.random() < 0.5 else "") + old[place + 1 :]
    else:
        new = rng.choice(("better than", "superior to", "significantly outperforming"))
    tail = lines[at][match.end() :]
    case = _planted(record, lines, at, old + tail, new + tail, kind)
    return case and Case(case.record, case.text, kind, (case.touched[0], case.touched[0] + len(new) + 12))


def languages(rng: random.Random) -> str:
    return rng.choice(LANGUAGES)
