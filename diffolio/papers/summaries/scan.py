"""Plain text with a way back: tags, TeX and full-width forms resolved, every character knowing where it came from."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import unescape

from diffolio.papers.summaries.words import is_cjk

_WIDE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {0x3000: " ", 0xA0: " ", 0x2009: " ", 0x202F: " "}
_RAISED = {char: "^" + unicodedata.normalize("NFKC", char) for char in "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"}
_TEX = {"deg": "°", "circ": "°", "times": "×", "pm": "±", "sim": "~", "approx": "≈", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥"}
_TOKEN = re.compile(
    r"""
    (?P<tag></?(?:p|li|ol|ul|em|strong|b|i|br|div|span|a|img|h[1-6]|details|summary|code|sub|sup|table|tr|td|th)\b[^<>]*/?>)
  | (?P<entity>&(?:\#\d{1,7}|\#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,12});)
  | (?P<tex>\\(?:[a-zA-Z]+[ ]?|[%&$\#_]))
  | (?P<drop>\*\*|__|[${}`\u200b\u200c\u200d\ufeff\u2060]|\^(?=\\circ|\{\\circ)|''|(?<=\w)~(?=\w))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SPECIAL = re.compile(r"[\\<&$*_`{}~']")  # without any of these an ASCII text is as it is read
_BLOCK = re.compile(r"</?(?:p|li|ol|ul|br|div|h[1-6]|details|summary|table|tr)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Clean:
    """``text`` as a reader sees it; ``at[i]`` is where its i-th character stands in the raw text (one entry more at the end)."""

    text: str
    at: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The raw characters behind text[start:end]."""
        return (self.at[start], self.at[end - 1] + 1) if end > start else (self.at[start], self.at[start])


def clean(raw: str) -> Clean:
    """Resolve tags (blocks become newlines), entities, TeX, Markdown emphasis, full-width and raised characters."""
    if raw.isascii() and not _SPECIAL.search(raw):
        return Clean(raw, range(len(raw) + 1))
    text: list[str] = []
    at: list[int] = []

    def add(piece: str, place: int) -> None:
        text.extend(piece)
        at.extend([place] * len(piece))

    def add_plain(start: int, end: int) -> None:
        if (piece := raw[start:end]).isascii():
            text.extend(piece)
            at.extend(range(start, end))
            return
        for place in range(start, end):
            char = raw[place]
            add(_RAISED.get(char) or _WIDE.get(ord(char), char), place)

    place = 0
    for match in _TOKEN.finditer(raw):
        add_plain(place, match.start())
        place = match.end()
        if match["tag"]:
            add("\n" if _BLOCK.match(match["tag"]) else " " if "em>" not in match["tag"] else "", match.start())
        elif match["entity"]:
            add(unescape(match["entity"]), match.start())
        elif match["tex"]:
            name = match["tex"][1:].strip()
            add(_TEX.get(name, name if name in "%&$#_" else ""), match.start())
        elif match["drop"] == "~":
            add(" ", match.start())
    add_plain(place, len(raw))
    return Clean("".join(text), (*at, len(raw)))


def folded(text: str) -> str:
    """One space for any white space, none at the ends."""
    return " ".join(text.split())


def bare(text: str) -> str:
    """For comparing names: no diacritics, no case."""
    kept = (char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return "".join(kept).casefold().replace("ø", "o").replace("ł", "l").replace("ß", "ss").replace("đ", "d").replace("ı", "i")


# A full stop ends a sentence before white space and a capital, digit or opening bracket, unless it ends an abbreviation.
_END = re.compile(
    r"[.!?]+[\"'”’)\]]*(?=\s+[\"'“‘(\[`$\\]*[A-Z0-9À-ÞА-Я])"
    r"|(?<=[a-z)]{2})\.(?=[A-Z][a-z]+[\s,])"  # a lost space: "domains.However, it"
    r"|[。！？!?]+[”’」』)）]*|\n+|\Z"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|et al|vs|w\.r\.t|cf|resp|approx|Fig|Figs|Eq|Eqs|Sec|Tab|Ref|Dr|Prof|No|St|a\.k\.a)|(?<![\w'])[A-Z])\.$"
)


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of ``text`` in any language, without the white space around them."""
    found, start = [], 0
    for match in _END.finditer(text):
        if match.end() > start and match[0][:1] == "." and _ABBREVIATION.search(text, start, match.end()):
            continue
        span = trimmed(text, start, match.end())
        if span[1] > span[0]:
            found.append(span)
        start = match.end()
    return found


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+(?:\.\d+)?")


def words(text: str) -> list[str]:
    """Lower-case words and numbers; a run of CJK gives its pairs of characters, which serve as words there."""
    if text.isascii() or max(text) < "぀":  # no script of runs
        return _WORD.findall(text.lower())
    found: list[str] = []
    for match in _WORD.finditer(text.lower()):
        word = match[0]
        if any(map(is_cjk, word)):
            runs = re.split(r"([a-z0-9'’-]+)", word)
            for run in runs:
                found.extend(run[i : i + 2] for i in range(len(run) - 1)) if run and is_cjk(run[0]) else found.extend(
                    [run] * bool(run)
                )
        else:
            found.append(word)
    return found


def length(text: str) -> float:
    """How long a text is in English words, so that languages can be compared: 0.6 for a CJK character."""
    cjk = sum(map(is_cjk, text))
    return 0.6 * cjk + sum(1 for match in _WORD.finditer(text) if not any(map(is_cjk, match[0])))


_STOP = {
    "en": frozenset(["the", "of", "and", "to", "in", "is", "that", "for", "with", "we", "this", "are", "by", "our"]),
    "de": frozenset(["der", "die", "das", "und", "von", "mit", "ist", "wir", "für", "ein", "eine", "den", "auf", "werden"]),
    "fr": frozenset(["le", "la", "les", "des", "et", "une", "un", "est", "dans", "pour", "nous", "avec", "sur", "par"]),
    "es": frozenset(["el", "la", "los", "las", "y", "una", "un", "es", "para", "con", "por", "se", "del", "que"]),
    "pt": frozenset(["o", "os", "as", "e", "uma", "um", "para", "com", "por", "do", "da", "que", "não", "em"]),
}
# A CJK character weighs as much as two letters; kana outweigh the Chinese characters between them.
_SCRIPTS = {
    "ko": (re.compile("[가-힣]"), 2),
    "ja": (re.compile("[\u3041-\u30fa]"), 5),
    "zh": (re.compile("[\u4e00-\u9fff]"), 2),
    "ru": (re.compile("[\u0400-\u04ff]"), 1),
}
_LATIN = re.compile("[A-Za-zÀ-ɏ]")


def language(text: str) -> str:
    """The language of a text, ISO 639-1, from its script and commonest words; ``en`` where nothing tells."""
    counts = (
        {code: weight * len(pattern.findall(text)) for code, (pattern, weight) in _SCRIPTS.items()}
        if not text.isascii()
        else {"zh": 0}
    )
    script, most = max(counts.items(), key=lambda item: item[1])
    if most > 0 and most * 2 > len(_LATIN.findall(text)):
        return script
    found = words(text)
    return max(_STOP, key=lambda code: sum(word in _STOP[code] for word in found))


def is_latin(name: str) -> bool:
    """Whether the letters of a name are Latin."""
    letters = [char for char in name if char.isalpha()]
    return bool(letters) and all("LATIN" in unicodedata.name(char, "") for char in letters)


def lines(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the non-empty lines."""
    for match in re.finditer(r"[^\n]+", text):
        start, end = trimmed(text, *match.span())
        if end > start:
            yield start, end


class Spans:
    """Stretches of a text, for asking quickly whether another one touches any of them."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        for start, end in sorted(spans):
            if self.ends and start <= self.ends[-1]:
                self.ends[-1] = max(self.ends[-1], end)
            else:
                self.starts.append(start)
                self.ends.append(end)

    def touch(self, start: int, end: int) -> bool:
        index = bisect_left(self.starts, end) - 1
        return index >= 0 and self.ends[index] > start
