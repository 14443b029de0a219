"""Repairs of what digests did to texts, each reversible and with its confidence; raw strings stay as they are.

Which repairs are tried depends on where the file comes from: words joined over deleted line ends occur in topic lists made from
the API (links ``http://...v1``), glued placeholders and sentences in those made from pages (links ``https://...`` without
version), triple spaces in overviews and blogs. Text of our own clean issues is left alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

from diffolio.papers.record import Entry, Issue, Repair
from diffolio.papers.text import collapse_spaces, repair_charset, repair_joined

TEXTS = ("title", "abstract", "comments")
_PLACEHOLDER = re.compile(r"(?<=[^\s(\[{'\"“‘/-])(?=this https? URL\b)")
_SENTENCE = re.compile(r"(?<=[a-z]{2}\.)(?=[A-Z][a-z]*\s)")


def mend_charset(text: str) -> tuple[str, dict[int, Repair]]:
    """``text`` with lines that were decoded in a wrong charset put right, and those lines' repairs by number, from 1."""
    mended, repairs = repair_charset(text)
    return mended, {int(repair.field.removeprefix("line ")): repair for repair in repairs}


def mend(issue: Issue, lines: dict[int, Repair] | None = None) -> Issue:
    """``issue`` with its entries' fields repaired; ``lines`` are the repairs of :func:`mend_charset` on its text."""
    lines = lines or {}
    entries = tuple(_entry(entry, issue.format, lines) for entry in issue.entries)
    inside = {number for entry in entries for number in range(entry.lines[0], entry.lines[1] + 1)} if lines else set()
    header = tuple(repair for number, repair in lines.items() if number not in inside)
    raw = dict(issue.raw)
    if lines:
        raw["charset"] = json.dumps({number: repair.before for number, repair in lines.items()}, ensure_ascii=False)
    return replace(issue, entries=entries, raw=raw, repairs=(*issue.repairs, *header))


def unmend_charset(issue: Issue, text: str) -> str:
    """``text`` of ``issue`` with the lines as they were before :func:`mend_charset`."""
    lines = text.split("\n")
    for number, before in json.loads(issue.raw.get("charset", "{}")).items():
        lines[int(number) - 1] = before
    return "\n".join(lines)


def _entry(entry: Entry, format: str, lines: dict[int, Repair]) -> Entry:
    values = {name: getattr(entry, name) for name in TEXTS}
    repairs = [
        found for n in range(entry.lines[0], entry.lines[1] + 1) if n in lines for found in _of_fields(lines[n], entry, values)
    ]

    def put(name: str, kind: str, after: str, confidence: float) -> None:
        if values[name] and after != values[name]:
            repairs.append(Repair(name, kind, values[name], after, confidence))
            values[name] = after

    link = entry.raw.get("link", "")
    if format == "topic-list" and values["abstract"]:
        if entry.version is not None and link.startswith("http://"):
            joined = repair_joined(values["abstract"])
            put("abstract", "joined-words", joined.text, joined.confidence)
        elif entry.version is None and link.startswith("https://"):
            # Where an address should stand the page had only these words: the address is lost, not the space alone.
            glued = _PLACEHOLDER.sub(" ", values["abstract"])
            put("abstract", "lost-link", glued, 1.0)
            put("abstract", "joined-sentences", _SENTENCE.sub(" ", values["abstract"]), 0.9)
    for name in TEXTS:
        if values[name]:
            put(name, "spaces", collapse_spaces(values[name]), 1.0)
    if not repairs:
        return entry
    return replace(entry, repairs=(*entry.repairs, *repairs), **values)


def _of_fields(line: Repair, entry: Entry, values: dict[str, str | None]) -> list[Repair]:
    """The repair of a line as repairs of the fields in it: what stands around a field is the same before and after."""
    found = []
    for name, value in values.items():
        at = line.after.find(value) if value else -1
        if at < 0 or value is None:
            continue
        tail = len(line.after) - at - len(value)
        before = line.before[at : len(line.before) - tail]
        around = line.before[:at] == line.after[:at] and line.before[len(line.before) - tail :] == line.after[at + len(value) :]
        if around and before != value:
            found.append(replace(line, field=name, before=before, after=value))
    return found or [replace(line, field="authors" if line.after.startswith(("  _", "**Authors:")) else line.field)]
