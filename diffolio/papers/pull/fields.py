"""Small readings that the sources share: white space, dates, categories, authors in one string, withdrawal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from diffolio.papers.record import Author

_CATEGORY = re.compile(r"[a-z]+(?:-[a-z]+)?(?:\.[A-Za-z][A-Za-z-]+)?")
_WITHDRAWN = re.compile(
    r"(?:(?:this|the|our|my)\s+)?(?:(?:\w+\s+)?(?:paper|article|manuscript|submission|preprint|work|version)\s+)?"
    r"(?:(?:has|have)\s+been\s+|is\s+|was\s+|been\s+)?(?:temporarily\s+)?withdrawn\b",
    re.IGNORECASE,
)
_ADMIN_WITHDRAWN = re.compile(r"arxiv admin note:[^.]{0,60}\bwithdrawn\b", re.IGNORECASE)
_SUFFIX = re.compile(r"(?:Jr|Sr|II|III|IV|V)\.?", re.ASCII)
_AND = re.compile(r"\s*,\s*(?:and|&)\s+|\s+(?:and|&)\s+|\s*[,;]\s*")


def line(text: str | None) -> str | None:
    """``text`` on one line with single spaces; None when nothing is left. Wrapped and unwrapped sources then agree."""
    return " ".join(text.split()) or None if text else None


@lru_cache(maxsize=4096)
def stamp(text: str | None) -> str | None:
    """A date as ISO 8601 in UTC: ``2024-03-19`` stays a day, a time of any zone becomes ``2024-03-19T17:59:58Z``.

    Reads ISO 8601 and RFC 822; None for what is neither or does not exist.
    """
    text = (text or "").strip()
    if not text:
        return None
    try:
        if len(text) == 10:
            return datetime.strptime(text, "%Y-%m-%d").strftime("%Y-%m-%d")
        when = datetime.fromisoformat(text) if text[0].isdigit() and text[4:5] == "-" else parsedate_to_datetime(text)
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return f"{when.year:04}-{when:%m-%dT%H:%M:%SZ}"


def categories(terms: Iterable[str], primary: str | None = None) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """arXiv's categories without repeats, the primary one first, and the rest: classes of ACM and MSC stand among them."""
    known: dict[str, None] = {primary: None} if primary and _CATEGORY.fullmatch(primary) else {}
    classes: dict[str, None] = {}
    for term in terms:
        (known if _CATEGORY.fullmatch(term) else classes)[term] = None
    return tuple(known) or None, tuple(term for term in classes if term)


def is_withdrawn(comments: str | None) -> bool:
    """Whether the comments say that the paper was withdrawn; arXiv has no other word for it in most interfaces."""
    return bool(comments and (_WITHDRAWN.match(comments) or _ADMIN_WITHDRAWN.search(comments)))


def authors(text: str | None) -> tuple[Author, ...] | None:
    """The names of ``A. One (1), B. Two, Jr. and C. Three ((1) Here)``: what stands in brackets is the affiliation's."""
    names: list[str] = []
    for part in _AND.split(_unbracketed(text or "")):
        name = part.strip().strip("*").strip()
        if name and names and _SUFFIX.fullmatch(name):
            names[-1] += f" {name}"
        elif name:
            names.append(name.removeprefix("and ").strip())
    return tuple(map(Author, names)) or None


def _unbracketed(text: str) -> str:
    """``text`` without what stands in round brackets, however nested; one that never closes is kept."""
    kept: list[str] = []
    depth = 0
    for piece in re.split(r"([()])", text):
        if piece == "(":
            depth += 1
        elif piece == ")":
            depth = max(depth - 1, 0)
        elif not depth:
            kept.append(piece)
    return " ".join("".join(kept).split()) if not depth else " ".join(text.replace("(", " ").replace(")", " ").split())
