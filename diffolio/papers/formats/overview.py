"""Overviews: one file per window of days, a heading, a date, the abstract and a link per paper, no blank lines.

    # {from}--{to} {heading}
    ## {title}␠
      * {YYYY-MM-DD}␠␠
      * {abstract}␠
     * link:[{url}]({url})␠

The window is that of the query; the dates are those of first submission. Trailing spaces are part of the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from diffolio.errors import BadInput
from diffolio.papers.formats import grammar
from diffolio.papers.formats.escaping import escape
from diffolio.papers.formats.grammar import Reading
from diffolio.papers.identifiers import PaperId
from diffolio.papers.record import Entry, Issue

NAME = "overview"
HEADING = "生成式论文概览"
_HEADING = re.compile(r"\s*# ?(?P<first>\d{4}-\d{2}-\d{2}) ?--? ?(?P<last>\d{4}-\d{2}-\d{2})[ \t]*(?P<heading>[^\n]*)")
_NEXT = re.compile(r"##[^\n]*\n  ?\* ")


def why_not(text: str) -> tuple[int, str] | None:
    """The line that shows that this is no overview and what is missing there; None when it is one."""
    if _HEADING.match(text):
        return None
    return grammar.first_line(text), "expected '# YYYY-MM-DD--YYYY-MM-DD ...'"


def sniff(text: str) -> bool:
    return why_not(text) is None


def read(text: str, *, path: str = "") -> Issue:
    """The issue in ``text``; entries that cannot be read are skipped with a warning.

    Raises BadInput when it is no overview or a date of its heading does not exist.
    """
    heading = _HEADING.match(text)
    line = grammar.first_line(text)
    if heading is None:
        raise BadInput(f"line {line}: expected '# YYYY-MM-DD--YYYY-MM-DD ...'")
    first, last = (grammar.dated(heading[name], f"line {line}") for name in ("first", "last"))
    reading = Reading(text)
    starts = [at for at in grammar.line_starts(text, "##") if at >= heading.end() and _begins(text, at)]
    reading.mark = grammar.find_mark(text[: starts[0]] if starts else text)
    if first > last:
        reading.warn(line, f"the window ends before it begins ({first}, {last})")
        first, last = last, first
    entries = grammar.collect(reading, starts, layout, lambda at, piece: _entry(reading, at, piece, last))
    name = heading["heading"].strip()
    return grammar.issue(reading, NAME, name or NAME, None, first, last, entries, {"heading": name})


def _begins(text: str, at: int) -> bool:
    """A line of an abstract may begin with ##, so a title follows a link or is followed by a line of its entry."""
    return bool(_NEXT.match(text, at)) or text.endswith((") \n", ")\n"), 0, at)


def _entry(reading: Reading, line: int, piece: str, last: str) -> Entry | str:
    raw = _parts(piece)
    paper = grammar.paper_of(raw["target"] if "target" in raw else raw.get("link", ""))
    if not isinstance(paper, PaperId):
        return paper if "link" in raw else "the entry has no link, so no arXiv id"
    if grammar.ahead(paper, last):
        reading.warn(line, f"{paper.base} is of a month after the issue's last day {last}")
    title = reading.plain(raw["title"])
    abstract = reading.plain(grammar.joined(raw.get("abstract", ""))) or None
    date = grammar.day(raw.get("date", ""))
    for what, value in (("title", title.strip()), ("date", date), ("abstract", abstract)):
        if not value:
            wrong = f" that exists ({raw['date']})" if what == "date" and "date" in raw else ""
            reading.warn(line, f"{paper.base} has no {what}{wrong}")
    return Entry(
        paper.base, raw, title, abstract, paper.version, paper.url, date=date, lines=(line, grammar.last_line(line, piece)),
    )  # fmt: skip


def _parts(piece: str) -> dict[str, str]:
    """The parts of an entry; those that are missing or out of place are left out."""
    lines = piece.split("\n")
    raw = {"title": lines[0].removeprefix("##").removeprefix(" ").removesuffix(" ")}
    end = next((n for n in range(len(lines) - 1, 0, -1) if lines[n].startswith(" * link:[")), None)
    at = 1
    if len(lines) > at and lines[at].startswith("  * ") and grammar.day_in(lines[at]) == lines[at][4:].strip():
        raw["date"] = lines[at][4:].strip()
        at += 1
    body = lines[at:end] if end else [line for line in lines[at:] if line.strip()]
    if body:
        raw["abstract"] = "\n".join(body).removeprefix("  * ").removesuffix(" ")
    if end is None:
        return raw
    raw["link"], _, target = lines[end][len(" * link:[") :].rstrip(" ").removesuffix(")").rpartition("](")
    if target != raw["link"]:
        raw["target"] = target
    raw["after"] = "\n".join(["", *lines[end + 1 :]])
    return raw


def layout(raw: Mapping[str, str]) -> str:
    """The text of an entry with these parts."""
    printed = f"## {raw['title']} \n"
    if "date" in raw:
        printed += f"  * {raw['date']}  \n"
    if "abstract" in raw:
        printed += f"  * {raw['abstract']} \n"
    if "link" in raw:
        printed += f" * link:[{raw['link']}]({raw.get('target', raw['link'])}) "
    return printed + raw.get("after", "")


def write(issue: Issue, *, mode: str = "faithful", heading: str | None = None, notes: Mapping[str, str] | None = None) -> str:
    """``issue`` as an overview: ``faithful`` gives the text it was read from, ``clean`` a new one, escaped.

    ``heading``: the words after the window (default: those of the issue, else HEADING); ``notes``: a line to print with an
    entry, by arXiv id (clean only).
    """
    if grammar.choose_mode(mode) == "faithful":
        return grammar.faithful(issue, NAME, layout)
    words = escape(heading or issue.raw.get("heading") or HEADING)
    printed = [f"# {issue.first}--{issue.last} {words}\n{grammar.print_mark(issue)}\n"]
    for entry in issue.entries:
        raw = {"title": escape(entry.title), "link": PaperId(entry.id, entry.version).url, "after": "\n"}
        if entry.date is not None:
            raw["date"] = entry.date[:10]
        if entry.abstract is not None:
            raw["abstract"] = escape(entry.abstract)
        printed.append(layout(raw))
        if note := (notes or {}).get(entry.id):
            printed.append(f" * {escape(note)} \n")
    return "".join(printed)
