"""Numbers of a text with their unit and their hedge, in nine languages: ``up to 11.9 %``, ``20亿``, ``8 倍``, ``2,64 dB``.

A quantity's ``values`` are all the readings it may have (``2,640`` is 2640 or 2.64); two quantities agree when they share one.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cache

from diffolio.papers.summaries import words
from diffolio.papers.summaries.scan import Spans
from diffolio.papers.summaries.words import bounded, is_cjk

LARGE = 100
_TIME = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
# A wrong one of these, or none where the source has one, is an error; others (°, fps, mm) are often left to the context.
STRICT = frozenset(
    {"%", "×", "dB", *_TIME, "GB", "MB", "TB", "KB", "Hz", "kHz", "MHz", "GHz", "GFLOPs", "TFLOPs", "mm", "cm", "km"}
)


@dataclass(frozen=True)
class Quantity:
    """A number as it stands at text[start:end]; ``unit`` canonical or None, ``hedge`` upper, lower, about or None.

    ``counted``: a number word or a small classifier count (两个, three), which says little by itself.
    """

    start: int
    end: int
    values: frozenset[float]
    unit: str | None
    hedge: str | None
    counted: bool = False

    def agrees(self, other: Quantity) -> bool:
        return any(abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-12) for a in self.scaled for b in other.scaled)

    @property
    def scaled(self) -> frozenset[float]:
        """Values in the base unit of the unit's dimension (seconds)."""
        return frozenset(value * _TIME.get(self.unit or "", 1.0) for value in self.values)

    @property
    def dimension(self) -> str | None:
        return "time" if self.unit in _TIME else self.unit


_DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+[.,]\d+|\d+|(?<![\w.])\.\d+"
_POWER = re.compile(r"(?:(\d+(?:\.\d+)?) ?[×x] ?)?10 ?\^ ?(-?\d+)|(\d+(?:\.\d+)?)[eE](-?\d+)")
_NUMBER = re.compile(_DIGITS)
_LIST_MARK = re.compile(r"(?:^|(?<=\n))[ \t>*•-]*(?:\(?\d{1,2}(?:\.\d{1,2})?\)[ :]*|\d{1,2}[.、](?!\d) ?)+")
_INLINE_MARK = re.compile(r"(?<![\w.^])\(?\d{1,2}\)(?=[ \w:])|\((?:\d(?:\.\d)?)\)|(?<![\w.])[ivx]{1,4}\)")
_CITE = re.compile(r"\[\d{1,3}(?:\s*[,–-]\s*\d{1,3})*\]")
_URL = re.compile(r"(?:https?://|www\.)[!-~]+|\b10\.\d{4,9}/\S+|(?i:arxiv):\s*\S+|\b\d{4}\.\d{4,5}(?:v\d+)?\b")


def quantities(text: str) -> list[Quantity]:
    """The quantities of a cleaned text in order. Digits in names (T3Bench, 3D, GPT-4), URLs, ids, citation and list marks are none."""
    barred = Spans(match.span() for pattern in (_LIST_MARK, _INLINE_MARK, _CITE, _URL) for match in pattern.finditer(text))
    hedges = _Hedges(text)
    found: list[Quantity] = []
    for start, end, values in _digits(text):
        if barred.touch(start, end):
            continue
        factor, unit, close = _tail(text, end)
        if _joined_before(text, start) or (unit is None and factor == 1.0 and _joined_after(text, end)):
            continue
        before = text[max(0, start - 6) : start]
        if unit is None and before.rstrip(" ")[-1:] == "×" and not before.rstrip(" ×")[-1:].isdigit():
            unit = "×"
        if before.endswith("百分之"):
            start, unit = start - 3, "%"
        found.append(
            Quantity(
                start, close, frozenset(v * factor for v in values), unit, hedges.at(start, close, max(values) * factor, unit)
            )
        )
    found += _spelled(text, found, hedges)
    found.sort(key=lambda q: q.start)
    return _chained(text, found)


def marks(text: str) -> list[int]:
    """The counts that list marks give: ``1) … 2) … 3)`` gives 1, 2, 3."""
    found = [match[0] for pattern in (_LIST_MARK, _INLINE_MARK) for match in pattern.finditer(text)]
    return [int(number) for mark in found for number in re.findall(r"\d+", mark)]


def _digits(text: str) -> list[tuple[int, int, frozenset[float]]]:
    found = []
    taken = -1
    powers = {match.start(): match for match in _POWER.finditer(text)}
    for match in _NUMBER.finditer(text):
        if match.start() < taken:
            continue
        power = powers.get(match.start())
        if power:
            base, tens = float(power[1] or power[3] or 1), int(power[2] or power[4])
            if abs(tens) <= 60:
                found.append((power.start(), power.end(), frozenset({base * 10.0**tens})))
                taken = power.end()
                continue
        found.append((*match.span(), _values(match[0])))
    return found


def _values(digits: str) -> frozenset[float]:
    if len(digits) > 40:
        return frozenset({float("inf")})
    readings = {digits.replace(",", "")} if "," in digits and re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", digits) else set()
    if digits.count(",") == 1 and "." not in digits:
        readings.add(digits.replace(",", "."))
    if re.fullmatch(r"\d{1,3}(\.\d{3})+", digits):
        readings.add(digits.replace(".", ""))
    if "," not in digits:
        readings.add(digits)
    return frozenset(float(reading) for reading in readings)


@cache
def _units() -> tuple[re.Pattern[str], dict[str, str]]:
    canonical: dict[str, str] = {}
    for language in words.LANGUAGES:
        for unit, spellings in words.table(language).get("units", {}).items():
            canonical |= {spelling.lower(): unit for spelling in spellings}
    ordered = sorted(canonical, key=lambda spelling: (-len(spelling), spelling))
    pattern = "|".join(
        re.escape(s) + (rf"(?![{words.LETTERS}0-9])" if s[-1].isalnum() and not is_cjk(s[-1]) else "") for s in ordered
    )
    return re.compile(rf"[ \n-]?(?:{pattern})", re.IGNORECASE), canonical


@cache
def _multipliers() -> tuple[re.Pattern[str], dict[str, float]]:
    table = {key: float(value) for key, value in words.mapping("multipliers").items()}
    ordered = sorted(table, key=lambda word: (-len(word), word))
    pattern = "|".join(re.escape(w) + (rf"(?![{words.LETTERS}])" if not is_cjk(w[-1]) else "") for w in ordered)
    return re.compile(rf"[ -]?(?:{pattern})", re.IGNORECASE), table


_LETTER = re.compile(r"(?:[ ]?[MB]|[kK])(?![A-Za-z0-9^+-])")


def _tail(text: str, end: int) -> tuple[float, str | None, int]:
    """Multiplier, unit and end of what follows a number."""
    factor = 1.0
    letter = _LETTER.match(text, end)
    if letter:
        factor, end = {"M": 1e6, "B": 1e9, "K": 1e3}[letter[0].strip().upper()], letter.end()
    else:
        pattern, table = _multipliers()
        while match := pattern.match(text, end):
            factor, end = factor * table[match[0].strip(" -").lower()], match.end()
    pattern, canonical = _units()
    match = pattern.match(text, end)
    if not match or (match[0].strip(" -\n").lower() in ("x", "×") and re.match(r" ?\d", text[match.end() : match.end() + 2])):
        return factor, None, end
    return factor, canonical.get(match[0].strip().lower()) or canonical[match[0].strip(" -\n").lower()], match.end()


def _joined_before(text: str, start: int) -> bool:
    """Whether letters run into the digits, as in ``GPT-4`` and ``WebVid-10M``: they are part of a name."""
    before = text[max(0, start - 3) : start]
    return bool(re.search(r"[A-Za-z_^][-.]?$", before)) and not re.search(r"(?:^|[^A-Za-z])x$", before)


def _joined_after(text: str, end: int) -> bool:
    """``3D``, ``4DGS``, ``3-DoF``."""
    return bool(re.match(r"[A-Za-z_]|-[A-Z]", text[end : end + 2]))


@cache
def _number_words() -> tuple[re.Pattern[str], dict[str, float]]:
    table = {key: float(value) for key, value in words.mapping("numbers").items()}
    classifiers = "|".join(map(re.escape, words.entries("classifiers", "words")))
    parts = []
    for word in sorted(table, key=lambda w: (-len(w), w)):
        cjk = is_cjk(word[0])
        parts.append(
            rf"(?<![第一二三四五六七八九十百千])(?:{re.escape(word)})(?=\s?(?:{classifiers}))"
            if cjk and "\u4e00" <= word[-1] <= "\u9fff"
            else bounded(word)
        )
    return re.compile("|".join(parts), re.IGNORECASE), table


def _spelled(text: str, taken: list[Quantity], hedges: _Hedges) -> list[Quantity]:
    """Number words: ``two billion``, ``三大``, ``zwei``."""
    pattern, table = _number_words()
    found = []
    places = Spans((q.start, q.end) for q in taken)
    for match in pattern.finditer(text):
        if places.touch(*match.span()):
            continue
        factor, unit, end = _tail(text, match.end())
        strict = factor > 1 or unit in STRICT - {"s", "min", "h", "d"}
        value = table[match[0].lower()] * factor
        hedge = hedges.at(match.start(), end, value, unit)
        found.append(Quantity(match.start(), end, frozenset({value}), unit, hedge, counted=not strict))
    return found


_LINK = re.compile(r"\s?(?:/|–|-|~|to|到|至|和|或|and|or)\s?", re.IGNORECASE)


def _chained(text: str, found: list[Quantity]) -> list[Quantity]:
    """``11.9/12.1 %``: the first shares the unit; ``up to 11.9 %/12.1 %``: the second shares the hedge."""
    out = list(found)
    for i in range(len(out) - 1, 0, -1):
        left, right = out[i - 1], out[i]
        if left.unit is None and right.unit and re.fullmatch(r"\s?(?:/|–|-|~|to|到|至)\s?", text[left.end : right.start]):
            out[i - 1] = Quantity(left.start, left.end, left.values, right.unit, left.hedge, left.counted)
    for i in range(1, len(out)):
        left, right = out[i - 1], out[i]
        if left.hedge and not right.hedge and re.fullmatch(r"\s?/\s?", text[left.end : right.start]):
            out[i] = Quantity(right.start, right.end, right.values, right.unit, left.hedge, right.counted)
    return out


_SIGNS = {"upper": "≤|<", "lower": "≥|>", "about": "~|≈|∼"}
# What may stand between a hedge and its number.
_BETWEEN = re.compile(
    r"(?:\s*(?:an?|the|(?:reduction|speed-?up|increase|gain|improvement) of|(?:on |the )?average|\+|-|±|\$|\("
    r"|达到?|了|可|能|为|有|到|快|高|出|多|仅|需要?|提升|提高|提速|降低|减少|下降|缩短|节省|增加|增益|加速|获得|取得|实现))*\s*",
    re.IGNORECASE,
)
_REACH = 40  # characters


@cache
def _hedges() -> dict[str, tuple[re.Pattern[str], re.Pattern[str]]]:
    """Class -> (before a number, just after it)."""
    out = {}
    for kind, sign in _SIGNS.items():
        before = "|".join([*map(bounded, words.entries("hedges", kind)), sign])
        after = "|".join(map(re.escape, words.entries("hedges_after", kind))) or r"(?!)"
        out[kind] = (re.compile(before, re.IGNORECASE), re.compile(rf"\s?(?:{after})", re.IGNORECASE))
    return out


_CLASSIFIED = re.compile(r"\s?(?:个|名|张|种|次|步|人|枚|件|回|개|명|장)")


class _Hedges:
    """The hedges of a text; ``at`` gives the one that belongs to a number."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found = sorted((m.end(), m.start(), kind) for kind, (before, _) in _hedges().items() for m in before.finditer(text))
        self.ends = [end for end, _, _ in self.found]

    def at(self, start: int, end: int, value: float, unit: str | None) -> str | None:
        text = self.text
        close = match.end() if (match := _CLASSIFIED.match(text, end)) else end
        best: list[tuple[int, str]] = []  # the longest wins: "no less than" over "less than"
        for place in range(bisect_left(self.ends, start - _REACH), bisect_right(self.ends, start)):
            said, begun, kind = self.found[place]
            if _BETWEEN.fullmatch(text, said, start):
                best.append((start - begun, kind))
        for kind, (_, after) in _hedges().items():
            if match := after.match(text, end) or after.match(text, close):
                best.append((len(match[0]), kind))
        if best:
            return max(best)[1]
        if unit in STRICT or value >= LARGE:  # "over 30 %", not "averaged over 3 seeds"
            word = re.search(r"\b(over|under)\s*\Z", text[max(0, start - 8) : start], re.IGNORECASE)
            return {"over": "lower", "under": "upper"}[word[1].lower()] if word else None
        return None


def shown(q: Quantity, text: str) -> str:
    """The quantity as printed."""
    return " ".join(text[q.start : q.end].split())
