"""Texts of digests put right, shown and compared.

Repairs give back what a digest broke: :func:`repair_charset` UTF-8 that was read in another charset, ``repair_joined``
(joins.py) words joined over deleted line ends, :func:`collapse_spaces` spaces left by wrapping. :func:`display` shows TeX as
Unicode (tex.py); :func:`fold` is the form in which two texts are compared. All are pure and take time linear in the text.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from diffolio.papers.joins import Joined, repair_joined
from diffolio.papers.record import Repair
from diffolio.papers.tex import tex_to_unicode, unknown_macros

__all__ = [
    "Joined", "collapse_spaces", "display", "fold", "repair_charset", "repair_joined", "squeeze", "tex_to_unicode",
    "unknown_macros",
]  # fmt: skip

CHARSETS = ("mac_roman", "windows", "cp437", "gb18030")
ROUNDS = 3  # a text may have been misread more than once
SAMPLE = 2_000  # characters of a line that are judged
MARGIN = 0.9  # by how much a line must look less odd
COLLAPSED = 0.5  # every character that vanishes is evidence: text is seldom UTF-8 by chance

_WINDOWS = {ord(char): byte for byte in range(128, 256) if (char := bytes([byte]).decode("cp1252", "ignore"))}
_LETTERS = str.maketrans("øØłŁđĐıħŧŋ", "oOlLdDihtn") | {ord("æ"): "ae", ord("Æ"): "AE", ord("œ"): "oe", ord("Œ"): "OE"}
_CJK = "\u3000-\u9fff\uff00-\uffef"
_LONE = re.compile(rf"(?<![{_CJK}])[\u4e00-\u9fff]{{1,3}}(?![{_CJK}])")  # a few Chinese characters among other writing
_ALONE, _INSIDE = 1.5, 1.0  # how odd they are, and how much more within a word
_CHINESE = 3.0  # by how much a line must look less odd when read as GBK in a text that is Chinese elsewhere
_LETTER_CJK = re.compile("[\u4e00-\u9fff]")
_RUNNING = ("greek", "cyrillic", "other script")
_WORD = re.compile(r"[^\W_]+")
_SPACES = re.compile(r"[ \t]{2,}")


def repair_charset(text: str) -> tuple[str, tuple[Repair, ...]]:
    """``text`` with every line that is UTF-8 read as Mac Roman, Windows-1252, Latin-1, CP437 or GBK read aright.

    Each repair is of one line (``field`` names it, ``line 3``). Lines that were right are left alone.
    """
    if text.isascii():
        return text, ()
    lines, repairs = text.split("\n"), []
    chinese = any(_LETTER_CJK.search(line) and _through(line, "gb18030") is None for line in lines)
    for number, line in enumerate(lines, start=1):
        if line.isascii():
            continue
        mended, less = line, 0.0
        for _ in range(ROUNDS):
            mended, step = _reread(mended, chinese)
            less += step
            if not step or mended.isascii():
                break
        if less:
            confidence = round(1 - 0.5 / (1 + less) ** 2, 4)
            repairs.append(Repair(f"line {number}", "charset", line, mended, confidence))
            lines[number - 1] = mended
    return ("\n".join(lines), tuple(repairs)) if repairs else (text, ())


def _reread(line: str, chinese: bool) -> tuple[str, float]:
    """``line`` read in the charset that makes it least odd, and by how much less odd it is (0 when left alone)."""
    best, least = line, None
    for charset in CHARSETS:
        reread = _through(line, charset)
        if reread is None or reread == line:
            continue
        head = _through(line[:SAMPLE], charset, "ignore") if len(line) > SAMPLE else reread
        odd = _odd(head or "")
        odd -= COLLAPSED * max(0, len(line[:SAMPLE]) - len(head or ""))
        odd += _CHINESE - MARGIN if chinese and charset == "gb18030" else 0.0
        if least is None or odd < least:
            best, least = reread, odd
    if least is None:
        return line, 0.0
    less = _odd(line[:SAMPLE]) - least
    return (best, less) if less >= MARGIN else (line, 0.0)


def _through(line: str, charset: str, errors: str = "strict") -> str | None:
    """The UTF-8 text whose bytes read in ``charset`` are ``line``; None where there is none."""
    try:
        if charset == "windows":  # Latin-1 and Windows-1252 together: readers mix them
            return line.translate(_WINDOWS).encode("latin-1").decode("utf-8", errors)
        return line.encode(charset).decode("utf-8", errors)
    except UnicodeError:
        return None


def _odd(line: str) -> float:
    """How unlikely the characters of a line are, each by itself and beside its neighbours."""
    total, before, before_kind = 0.0, " ", "ascii"
    for lone in _LONE.finditer(line):
        around = line[lone.start() - 1 : lone.start()] + line[lone.end() : lone.end() + 1]
        total += _ALONE + (_INSIDE if any("a" <= char <= "z" for char in around) else 0.0)
    for char in line:
        if char < "\x80":
            before, before_kind = char, "ascii"
            continue
        kind, cost = _kind(char)
        if kind == before_kind:
            # Words of another script run on; symbols side by side and capitals inside words are rare.
            total += min(cost, 0.2) if kind in _RUNNING else cost + (1.0 if kind == "symbol" and char != before else 0.0)
        else:
            total += cost
            if before_kind not in ("ascii", "mark", "space") and kind not in ("mark", "space"):
                total += 1.5  # √© or Ã©: a symbol and a letter, or two scripts, side by side
            elif before_kind == "letter" and before.isupper():
                total += 0.8  # Å“
        if kind == "letter" and char.isupper() and before.islower():
            total += 1.0
        before, before_kind = char, kind
    return total


@cache
def _kind(char: str) -> tuple[str, float]:
    """A class of characters that go together, and how unlikely the character is in a paper's title or abstract."""
    code, category = ord(char), unicodedata.category(char)
    if category in ("Co", "Cc", "Cn", "Cs") or char == "\ufffd":
        return "broken", 4.0
    if 0x4E00 <= code < 0xA000:
        try:
            return "cjk", 0.2 if 0xB0 <= char.encode("gb2312")[0] <= 0xD7 else 1.2
        except UnicodeEncodeError:
            return "cjk", 1.5
    if 0x3000 <= code < 0x3100 or 0xFF00 <= code < 0xFFF0 or 0xAC00 <= code < 0xD7B0:
        return "cjk", 0.3
    if char in "‘’“”–—…\u00a0\u200d\ufe0f\u200b":
        return ("space" if char in "\u00a0\u200b" else "mark"), 0.3
    if char in "ªºµ·•":
        return "symbol", 0.4
    if category.startswith("L"):
        if code < 0x180:
            return "letter", 0.5 if code < 0x100 else 0.6
        if 0x1EA0 <= code < 0x1F00:
            return "letter", 0.6
        if 0x391 <= code < 0x3CA:
            return "greek", 0.5
        if 0x400 <= code < 0x460:
            return "cyrillic", 0.4
        if 0x5D0 <= code < 0x5EB or 0x620 <= code < 0x64B or 0x900 <= code < 0x980 or 0xE00 <= code < 0xE50:
            return "other script", 0.4
        return ("greek" if code < 0x400 else "rare letter"), 2.0
    if category.startswith("M"):
        return "mark", 2.5 if 0x300 <= code < 0x370 else 0.5  # Latin letters come with their accents
    if 0x2500 <= code < 0x25A0:
        return "box", 1.5
    return "symbol", 0.7 if code < 0x10000 else 0.5


def collapse_spaces(text: str) -> str:
    """Runs of spaces and tabs become one space: a title wrapped at a line end keeps three."""
    return _SPACES.sub(" ", text)


def display(text: str) -> str:
    """``text`` for a reader: TeX accents and simple macros as Unicode, single spaces; other maths keeps its dollars."""
    return collapse_spaces(tex_to_unicode(text))


def fold(text: str) -> str:
    """``text`` for comparing: the words alone, without case, diacritics, punctuation or TeX."""
    if not text.isascii() or "\\" in text or "$" in text:
        text = unicodedata.normalize("NFKD", tex_to_unicode(text).translate(_LETTERS))
        text = "".join(char for char in text if not unicodedata.combining(char)) if not text.isascii() else text
    return " ".join(_WORD.findall(text.casefold()))


def squeeze(text: str) -> str:
    """:func:`fold` without spaces, the same for a text whose words were joined."""
    return fold(text).replace(" ", "")
