"""Spaces that a digest lost by deleting the newlines of wrapped text, put back.

arXiv wraps an abstract at 79 columns and indents its first line by two; a digest that deletes the newlines joins one pair of
words per line. The joins are found as the best way to cut the text into lines that such a wrap could have given: a line has
at most 79 characters (the first 77) and is full, so that the next word would not have fitted. A cut is worth how much
likelier its two halves are than the joined token, in nats (tokens.py). A text whose best cutting is not clearly worth it
was not joined and is left alone.
"""

from __future__ import annotations

import heapq
import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from diffolio.papers.tokens import LONG_TOKEN, URL, Local, Words, shipped

WIDTH, FIRST = 79, 77  # columns of a line, of the first line
LONGEST = 3_000  # characters; arXiv takes abstracts of at most 1,920
WORTH, SURE = 5.0, 12.0  # nats per cut and beyond them, less than which a text was not joined
TEMPERATURE = 2.0  # of the chance of a cutting among all
HALF = 0.955  # the chance of a cutting that counts as confidence 0.5
SPARE = 3  # columns that the TeX source of an accented letter took besides the letter: {\"o}, \'e
DOUBTFUL = 0.8  # chance of a single break below which it is doubtful


@dataclass(frozen=True)
class Joined:
    """A text with its spaces put back. ``breaks``: offsets in the given text before which a space was put; ``doubtful``:
    those of them that may be wrong. ``confidence`` in [0, 1] grows with the lead over all other cuttings; most texts that are
    not entirely right lie below 0.5, and a few that are."""

    text: str
    confidence: float
    breaks: tuple[int, ...] = ()
    doubtful: tuple[int, ...] = ()


def repair_joined(abstract: str, *, counts: Mapping[str, int] | None = None, context: str = "") -> Joined:
    """``abstract`` with the spaces that deleted newlines took; unchanged, with confidence 1, where none were deleted.

    ``counts`` of words from abstracts, in place of the shipped ones; ``context`` is text whose names may occur, as the title.
    """
    untouched = Joined(abstract, 1.0)
    if not FIRST < len(abstract) <= LONGEST or "\n" in abstract:
        return untouched
    cutting = _Cutting(abstract, shipped() if counts is None else Words(counts), context)
    if not cutting.ends:
        return untouched
    path, gain = cutting.best()
    breaks = tuple(p for p in path if not abstract[p].isspace())
    if not breaks or gain < WORTH * len(path) + SURE:
        return untouched
    confidence, chances = cutting.chances(path, gain)
    parts = [abstract[i:j] for i, j in zip((0, *breaks), (*breaks, len(abstract)), strict=True)]
    return Joined(" ".join(parts), confidence, breaks, tuple(p for p in breaks if chances[p] < DOUBTFUL))


class _Cutting:
    """All ways to cut a text into lines: a graph whose nodes are offsets, from 0 forward to the ``ends``."""

    def __init__(self, text: str, words: Words, context: str) -> None:
        self.text, self.words = text, words
        self.local = Local(f"{text} {context}")
        self.spaces = [-1, *(i for i, c in enumerate(text) if c == " "), len(text)]
        self.paragraphs = [match.start() for match in re.finditer(r"(?<! )  (?! )", text)]
        self.urls = [(match.start(), self._token(match.start())[1]) for match in URL.finditer(text)]
        self.wide, self.maths, self.quoted = [0], [False], [False]
        for i, c in enumerate(text):
            self.wide.append(self.wide[-1] + (not c.isascii()))
            self.maths.append(self.maths[-1] ^ (c == "$" and text[i - 1 : i] != "\\"))
            self.quoted.append(self.quoted[-1] ^ (c == '"'))
        self.scores: dict[tuple[int, int], float] = {}
        self.into: dict[int, list[tuple[int, float]]] = defaultdict(list)  # node -> (node before it, gain)
        self.out: dict[int, list[tuple[int, float]]] = defaultdict(list)
        self.ends: list[int] = []
        self._explore()

    def _explore(self) -> None:
        queue, n = [0], len(self.text)
        seen = {0}
        while queue:
            start = heapq.heappop(queue)
            width = WIDTH if start else FIRST
            if n - start <= width:
                self.ends.append(start)
                if n - start + SPARE * (self.wide[n] - self.wide[start]) < width:
                    continue
            for cut, gain in self._cuts(start, width):
                self.into[cut].append((start, gain))
                self.out[start].append((cut, gain))
                if cut not in seen:
                    seen.add(cut)
                    heapq.heappush(queue, cut)

    def _cuts(self, start: int, width: int) -> list[tuple[int, float]]:
        """Where the line that begins at ``start`` may end. It is full exactly when it ends in the token over its edge."""
        n = len(self.text)
        edge = min(start + width, n - 1)
        spare = SPARE * (self.wide[edge] - self.wide[start])
        low = max(self._token(max(start + width - spare, start))[0], start)
        high = self._token(start)[1] if low == start else edge  # one token longer than the line
        found = []
        for cut in range(low + 1, min(max(high, edge), n - 1) + 1):
            gain = self._gain(start, cut)
            if gain is not None:
                found.append((cut, gain))
        # The first line of a new paragraph is indented; the line before it need not be full.
        i = bisect_right(self.paragraphs, start)
        if i < len(self.paragraphs) and self.paragraphs[i] <= edge:
            found.append((self.paragraphs[i], 0.0))
        return found

    def _token(self, at: int) -> tuple[int, int]:
        """The bounds of the token over column ``at``; a space belongs to the token before it."""
        i = bisect_left(self.spaces, at)
        return self.spaces[max(i - 1, 0)] + 1, self.spaces[min(max(i, 1), len(self.spaces) - 1)]

    def _gain(self, start: int, cut: int) -> float | None:
        first, last = self._token(cut)
        first = max(first, start)
        if not first < cut < last or last - first > LONG_TOKEN or self._forbidden(cut):
            return None
        whole = self._score(first, last)
        inside = -6.0 if self.maths[cut] else 0.0
        return self._score(first, cut) + self._score(cut, last) - whole + inside

    def _score(self, first: int, last: int) -> float:
        found = self.scores.get((first, last))
        if found is None:
            begin, end = self._token(first + 1)
            whole = self.text[begin:end] if (begin, end) != (first, last) else None
            found = self.scores[first, last] = self.words.token(self.text[first:last], self.local, whole)
        return found

    def _forbidden(self, cut: int) -> bool:
        """Where no line ever ends: before closing and after opening punctuation, inside numbers, URLs and TeX commands."""
        text = self.text
        before, after, second = text[cut - 1], text[cut], text[cut + 1 : cut + 2]
        if (
            after in ",;:!?)]}%~"
            or before in "([{\\~"
            or (after == "{" and before.isalnum())
            or (after in "-." and second.isalnum() and before.isalnum())
        ):
            return True
        if (after == "." and not second.isalnum()) or (after == "\\" and second in tuple("-%)]}")):
            return True
        if before in ".,-" and after.isdigit() and text[cut - 2 : cut - 1].isdigit():
            return True
        if ("$" in (before, after) and self.maths[cut]) or ('"' in (before, after) and self.quoted[cut]):
            return True
        return any(first < cut < last and not self._url_ends(cut, last) for first, last in self.urls)

    def _url_ends(self, cut: int, last: int) -> bool:
        """Whether the URL may end here because a common word was glued to it."""
        before, after = self.text[cut - 1], self.text[cut]
        word = re.match(r"[^\W\d_]+", self.text[cut:last])
        glued = word is not None and self.words.knows(word[0])
        return glued and (before not in "/-_?=&.~#" or (before in "./" and after.isupper()))

    def best(self) -> tuple[tuple[int, ...], float]:
        """The best path and its worth."""
        worth: dict[int, tuple[float, int]] = {0: (0.0, 0)}
        for node in sorted(self.into):
            worth[node] = max((worth[before][0] + gain, before) for before, gain in self.into[node])
        node = max(self.ends, key=lambda end: worth[end][0])
        total, path = worth[node][0], []
        while node:
            path.append(node)
            node = worth[node][1]
        return tuple(reversed(path)), total

    def chances(self, path: tuple[int, ...], gain: float) -> tuple[float, dict[int, float]]:
        """The confidence in a path and the chance of each of its breaks, among all paths."""
        forward = {0: 0.0}
        for node in sorted(self.into):
            forward[node] = _sum([forward[before] + gain / TEMPERATURE for before, gain in self.into[node]])
        backward = dict.fromkeys(self.ends, 0.0)
        for node in sorted(self.out, reverse=True):
            onward = [backward[after] + gain / TEMPERATURE for after, gain in self.out[node] if after in backward]
            if node in backward:
                onward.append(0.0)
            if onward:
                backward[node] = _sum(onward)
        total = backward[0]
        chances = {node: min(1.0, math.exp(forward[node] + backward[node] - total)) for node in path}
        return min(1.0, math.exp(gain / TEMPERATURE - total)) ** (math.log(0.5) / math.log(HALF)), chances


def _sum(logs: list[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(x - top) for x in logs))
