"""What the grammars share: cutting a file into entries without losing a byte, dates, names, and the escapes of clean issues.

An entry's ``raw`` holds its parts by the grammar's own names. Where they do not add up to the text of the file, to the byte,
the text itself is kept as ``raw["text"]``: whatever was read can be written back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from diffolio.errors import BadInput, choose
from diffolio.papers.formats.escaping import escape, unescape, unescape_html
from diffolio.papers.identifiers import PaperId, parse_id
from diffolio.papers.record import Entry, Issue

Layout = Callable[[Mapping[str, str]], str]

MOST_WARNINGS = 200
_DAY = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)", re.ASCII)
_MARK = re.compile(r"^<!-- diffolio (\{[^\n]{0,2000}\}) -->$", re.MULTILINE)
_SUFFIXES = frozenset(("Jr.", "Jr", "Sr.", "Sr", "II", "III", "IV"))
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*]+')


@dataclass
class Reading:
    """A file while it is read: ``warnings`` are for the reader, ``mark`` is what a clean issue says of itself (or None)."""

    text: str
    head: str = ""
    warnings: list[str] = field(default_factory=list)
    mark: dict[str, Any] | None = None
    seen: dict[str, int] = field(default_factory=dict)

    def warn(self, line: int, what: str) -> None:
        self.warnings.append(f"line {line}: {what}")

    def plain(self, text: str) -> str:
        """``text`` of a line of Markdown as its author meant it: escapes are undone where the issue has any."""
        return text if self.mark is None else unescape(text)

    def plain_html(self, text: str) -> str:
        return text if self.mark is None else unescape_html(text)


def line_starts(text: str, prefix: str) -> list[int]:
    """Where the lines begin that begin with ``prefix``."""
    found, at = [0] if text.startswith(prefix) else [], -1
    while (at := text.find("\n" + prefix, at + 1)) >= 0:
        found.append(at + 1)
    return found


def cut(text: str, starts: list[int]) -> tuple[str, list[tuple[int, str]]]:
    """The text before the first of ``starts``, and from each start to the next with the number of its first line, from 1."""
    if not starts:
        return text, []
    head, pieces, line = text[: starts[0]], [], text.count("\n", 0, starts[0]) + 1
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        pieces.append((line, text[start:end]))
        line += text.count("\n", start, end)
    return head, pieces


def collect(
    reading: Reading, starts: list[int], layout: Layout, entry_of: Callable[[int, str], Entry | str]
) -> tuple[Entry, ...]:
    """The entries of a file. ``entry_of(line, piece)`` reads one or says why it cannot; then the piece stays with the text
    before it."""
    reading.head, pieces = cut(reading.text, starts)
    entries: list[Entry] = []
    loose: list[str] = []

    def settle() -> None:
        if loose and entries:
            raw = entries[-1].raw
            raw["text"] = raw.get("text", layout(raw)) + "".join(loose)
        elif loose:
            reading.head += "".join(loose)
        loose.clear()

    for line, piece in pieces:
        entry = entry_of(line, piece)
        if isinstance(entry, str):
            reading.warn(line, f"{entry}; skipped")
            loose.append(piece)
            continue
        settle()
        if layout(entry.raw) != piece:
            entry.raw["text"] = piece
        if entry.id in reading.seen:
            reading.warn(line, f"{entry.id} is listed already in line {reading.seen[entry.id]}")
        reading.seen.setdefault(entry.id, line)
        entries.append(entry)
    settle()
    return tuple(entries)


def faithful(issue: Issue, name: str, layout: Layout) -> str:
    """The text that ``issue`` was read from. Raises BadInput when it was not read from this format."""
    if issue.format != name or "head" not in issue.raw:
        raise BadInput(f"a faithful {name} needs an issue read from one, this is {issue.format}; use mode='clean'")
    return issue.raw["head"] + "".join(entry.raw["text"] if "text" in entry.raw else layout(entry.raw) for entry in issue.entries)


def joined(text: str) -> str:
    """``text`` of one or more lines on one, its spaces otherwise as they are."""
    return " ".join(line.strip() for line in text.split("\n")).strip() if "\n" in text else text.strip()


def last_line(line: int, piece: str) -> int:
    """The number of the last line of a piece that is not blank."""
    return line + piece.rstrip().count("\n")


def day(text: str) -> str | None:
    """``text`` if it is a day that exists."""
    try:
        return date.fromisoformat(text).isoformat() if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def dated(text: str, what: str) -> str:
    """``text`` as a day. Raises BadInput when it does not exist."""
    found = day(text)
    if found is None:
        raise BadInput(f"{what}: the date {text} does not exist")
    return found


def day_in(text: str) -> str | None:
    """The first day named in ``text``, also when it does not exist."""
    found = _DAY.search(text)
    return found[0] if found else None


def paper_of(text: str) -> PaperId | str:
    """The id in a link or badge, or why there is none."""
    try:
        return parse_id(text)
    except BadInput as error:
        return str(error)


def ahead(paper: PaperId, last: str) -> bool:
    """Whether the id is of a month after the issue's."""
    digits = paper.base.split("/")[-1][:4]
    year = int(digits[:2])
    year += 1900 if "/" in paper.base and year >= 91 else 2000
    return f"{year}-{digits[2:]}" > last[:7]


def people(printed: str, escaped: bool = False) -> tuple[tuple[str, ...] | None, bool]:
    """The names of a comma-separated line and whether it is cut by ``et al.``; None where the line is empty."""
    printed = " ".join(printed.split())
    names = re.findall(r"(?:\\.|[^,\\]|,(?! ))+", printed) if escaped else printed.split(", ")
    names = [name for told in names if (name := told.strip())]
    cut_off = bool(names) and names[-1] in ("et al.", "et al")
    if cut_off:
        names.pop()
    joined: list[str] = []
    for name in names:
        if joined and name in _SUFFIXES:
            joined[-1] += ", " + name
        else:
            joined.append(unescape(name) if escaped else name)
    return tuple(joined) or None, cut_off


def print_people(names: Iterable[str], cut_off: bool) -> str:
    """Names on one line of Markdown; a comma inside a name is escaped."""
    printed = [re.sub(r"^et al\.?$", r"et al\\.", escape(name, spans=False)).replace(",", "\\,") for name in names]
    return ", ".join([*printed, "et al."] if cut_off else printed)


def safe_name(text: str) -> str:
    """``text`` as the name of a series: one line, no path, at most 100 characters."""
    parts = [part.strip(". ") for part in re.split(r"[/\\]+", _UNSAFE.sub(" ", text))]
    return " ".join("-".join(part for part in parts if part).split())[:100] or "unnamed"


def print_mark(issue: Issue, **more: Any) -> str:
    """The comment by which a clean issue is known and that holds what its grammar has no place for."""
    told = {"series": issue.series, "topic": issue.topic, "first": issue.first, "last": issue.last, **more}
    printed = json.dumps(told, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    return f"<!-- diffolio {printed} -->"


def find_mark(head: str) -> dict[str, Any] | None:
    """What :func:`print_mark` wrote into the header; None in other issues."""
    found = _MARK.search(head)
    if not found:
        return None
    try:
        told = json.loads(found[1])
    except (ValueError, RecursionError):
        return None
    days = [told.get(name) for name in ("first", "last")]
    if not isinstance(told.get("series"), str) or not all(isinstance(text, str) and day(text) for text in days):
        return None
    return told if isinstance(told.get("topic"), str | None) else None


def first_line(text: str) -> int:
    """The number of the first line that is not blank."""
    return text.count("\n", 0, len(text) - len(text.lstrip())) + 1


def choose_mode(mode: str) -> str:
    return choose("mode", mode, ("faithful", "clean"))


def issue(
    reading: Reading,
    name: str,
    series: str,
    topic: str | None,
    first: str,
    last: str,
    entries: tuple[Entry, ...],
    raw: dict[str, str],
) -> Issue:
    """The issue that was read; a clean one's mark knows its series, topic and window best."""
    if reading.mark is not None:
        series, topic, first, last = (reading.mark[key] for key in ("series", "topic", "first", "last"))
    warnings = reading.warnings[:MOST_WARNINGS]
    if len(reading.warnings) > len(warnings):
        warnings.append(f"and {len(reading.warnings) - len(warnings)} more like these")
    return Issue(name, safe_name(series), topic, first, last, entries, {"head": reading.head} | raw, warnings=tuple(warnings))
