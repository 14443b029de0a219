"""How likely a token of an abstract is: counts of words for those that are known, spelling for the others.

All costs are natural logarithms of rough chances: of a word by its count, of an unknown word letter by letter, of capitals
and of punctuation at an end or in the middle of a token.
"""

from __future__ import annotations

import gzip
import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

WORDS = Path(__file__).with_name("words.txt.gz")
URL = re.compile(r"https?://|www\.", re.IGNORECASE)

_PIECE = re.compile(r"\d+(?:[.,]\d+)+|\d+(?![^\W_])|[^\W_]+-(?=[^\W_])|[^\W_]+|[\W_]")
_COUNTED = re.compile(r"[^\W_]+(?:-(?=[^\W_]))?")
_CAMEL = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])")
_ESCAPED = re.compile(r"\\([-%])")
_UNKNOWN = math.log(0.02)  # the share of words that no list knows
_NAMED = -7.5  # an unknown word that the text has elsewhere too: a method's name
LONG_TOKEN = 200  # characters of a token worth reading
_LEAD = dict.fromkeys('([{"`$\\“‘<~+-@#|*=', -3.0) | dict.fromkeys("'.", -6.0)
_TRAIL = dict.fromkeys(";:!?)]}\"'%$”’>*=+-/…", -4.0) | dict.fromkeys(".,", -2.5)
_INNER = dict.fromkeys("-'’", -1.0) | dict.fromkeys("/_\\{}^$", -3.0) | dict.fromkeys("&@+", -5.0)


def words_of(text: str) -> list[str]:
    """The words of a text as they are counted: case folded; ``multi-`` before a hyphen is a word of its own; no numbers."""
    return [word for word in _COUNTED.findall(text.casefold()) if not word.rstrip("-").isdigit()]


class Local:
    """The words of one text. A word that occurs elsewhere in the text is likely here too."""

    def __init__(self, text: str) -> None:
        self.counts = Counter(words_of(text))
        self.own: dict[str, Counter[str]] = {}

    def elsewhere(self, word: str, token: str) -> bool:
        """Whether the text has ``word`` outside of ``token``, one of its tokens."""
        if self.counts[word] == 0:
            return False
        own = self.own.get(token)
        if own is None:
            own = self.own[token] = Counter(words_of(token))
        return self.counts[word] > own[word]


class Words:
    """Counts of words, and what they tell of words that they lack."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = counts
        self.total = math.log(sum(counts.values()) + 1)
        self.found: dict[str, float] = {}
        self.letters: Counter[str] = Counter()
        for word in counts:
            spelled = f"^{word}$"
            for size in (1, 2, 3, 4):
                self.letters.update(spelled[i : i + size] for i in range(len(spelled) - size + 1))
        self.letters[""] = sum(n for letters, n in self.letters.items() if len(letters) == 1)

    def knows(self, word: str) -> bool:
        return word.casefold() in self.counts

    def word(self, word: str) -> float:
        """The log chance of a case-folded word."""
        cost = self.found.get(word)
        if cost is None:
            n = self.counts.get(word, 0)
            cost = math.log(n) - self.total if n else _UNKNOWN + self._spelling(word)
            if len(self.found) > 200_000:
                self.found.clear()
            self.found[word] = cost
        return cost

    def _spelling(self, word: str) -> float:
        """Each letter by the three before it, smoothed with shorter contexts."""
        spelled, total = f"^{word}$", 0.0
        for i in range(1, len(spelled)):
            chance = 1 / 300
            for n in range(min(i, 3) + 1):
                context = spelled[i - n : i]
                chance = (self.letters[context + spelled[i]] + 5 * chance) / (self.letters[context] + 5)
            total += math.log(chance)
        return total

    def token(self, token: str, local: Local, whole: str | None = None) -> float:
        """The log chance of a token; ``whole`` is the token of the text that it is a part of, itself where None."""
        url = URL.search(token)
        if url:
            glued = token[: url.start()]
            address = -12.0 - 0.8 * (len(token) - len(glued))
            if not glued:
                return address
            if not glued.strip("({[<"):
                return address - 3
            return self.token(glued, local, whole or token) + address - (3 if glued[-1] in ":({[" else 25)
        if len(token) > LONG_TOKEN:
            return -3.0 * len(token)
        return self._plain(_ESCAPED.sub(r"\1", token), local, whole or token)

    def _plain(self, token: str, local: Local, whole: str) -> float:
        pieces = _PIECE.findall(token)
        solid = [i for i, piece in enumerate(pieces) if piece[0].isalnum()]
        if not solid:
            return -8.0 - 3.0 * len(pieces)
        total = 0.0
        for i, piece in enumerate(pieces):
            if piece[0].isalnum():
                total += self._solid(piece, local, whole)
            elif i < solid[0]:
                total += _LEAD.get(piece, -14.0)
            elif i > solid[-1]:
                total += _TRAIL.get(piece, -14.0)
            elif piece == "." and len(pieces[i - 1]) == 1 == len(pieces[i + 1]):
                total -= 1.0  # i.e., U.S.
            elif piece == "(" and len(pieces[i - 1]) <= 3:
                total -= 2.0  # O(n), SO(3)
            else:
                total += _INNER.get(piece, -9.0)
        if token[-1] in "-/\\_^(":
            total -= 8.0
        if token[-1] in "([{":
            total -= 10.0
        if token[-1] in "'’" and token[0] not in "'‘`" and token[-2:-1] not in ("s", "S"):
            total -= 5.0  # what ends in an apostrophe is a plural
        return total

    def _solid(self, piece: str, local: Local, whole: str) -> float:
        if piece.replace(".", "").replace(",", "").isdigit():
            return -5.0 - len(piece)
        folded = piece.casefold()
        cost = self.word(folded)
        if folded not in self.counts and len(parts := _CAMEL.split(piece)) > 1:
            cost = max(cost, sum(self.word(part.casefold()) for part in parts) - 3)  # DreamFusion
        if cost < _NAMED and local.elsewhere(folded, whole):
            cost = _NAMED
        return cost + _capitals(piece.rstrip("-"))


def _capitals(word: str) -> float:
    if word.islower():
        return -0.1
    if word.isupper():
        return -3.0
    if word[0].isupper():
        return -2.5 if word[1:].islower() else -4.0
    return -4.0 if word[0].isdigit() or (word[-1] == "s" and word[:-1].isupper()) else -8.0  # 3D, LLMs; theModel


@cache
def shipped() -> Words:
    """The counts that come with the package, from arXiv's abstracts (CC0)."""
    return Words(read(WORDS))


def read(path: Path) -> dict[str, int]:
    """A list of ``word count`` lines, gzipped."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return {word: int(count) for word, count in (line.split() for line in lines)}
