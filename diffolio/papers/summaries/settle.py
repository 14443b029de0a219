"""What is left of a summary after its check: the record's facts put back, what is contradicted dropped, the rest marked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffolio.papers.summaries.parts import FIELDS
from diffolio.papers.summaries.report import CONTRADICTED, NOT_IN_RECORD, Report, Statement
from diffolio.papers.summaries.summary import Summary


@dataclass(frozen=True)
class Shown:
    """A statement that an issue may print. ``mark``: None, or the verdict to print beside it."""

    part: str
    text: str
    mark: str | None
    statement: Statement


@dataclass(frozen=True)
class Settled:
    """``log``: one line for everything replaced or dropped, with the reason."""

    shown: tuple[Shown, ...]
    log: tuple[str, ...]


def settle(report: Report, *, strict: bool = False) -> Settled:
    """Apply a check. Fields that contradict the record, or cannot be compared with it, show the record's value instead; other
    contradicted statements and repeats are dropped; what the record does not say is marked, or dropped when ``strict``."""
    repeats = {note.span for note in report.notes if note.kind == "form" and note.why.startswith("repeats")}
    shown: list[Shown] = []
    log: list[str] = []
    for statement in report.statements:
        replacement = _replacement(statement)
        if replacement is not None:
            shown.append(Shown(statement.part, replacement, None, statement))
            log.append(f"{statement.part}: {statement.text!r} replaced by {replacement!r}: {statement.why}")
        elif statement.verdict == CONTRADICTED:
            log.append(f"{statement.part}: {statement.text!r} dropped: {statement.why}")
        elif statement.span in repeats:
            log.append(f"{statement.part}: {statement.text!r} dropped: it repeats another")
        elif statement.verdict == NOT_IN_RECORD and strict:
            log.append(f"{statement.part}: {statement.text!r} dropped (strict): {statement.why}")
        else:
            mark = statement.verdict if statement.verdict == NOT_IN_RECORD else None
            shown.append(Shown(statement.part, statement.text, mark, statement))
    return Settled(tuple(shown), tuple(log))


def _replacement(statement: Statement) -> str | None:
    """The record's value for a whole field. A person's finding names one author; the record's whole list goes in."""
    if statement.part not in FIELDS or statement.verdict == "supported":
        return None
    wrong = [finding for finding in statement.findings if finding.replacement is not None and finding.verdict != "supported"]
    return max((finding.replacement or "" for finding in wrong), key=len) if wrong else None


def settled_summary(summary: Summary, report: Report, *, strict: bool = False) -> Summary:
    """The summary without the bullets that the check drops."""
    kept = {shown.statement.span for shown in settle(report, strict=strict).shown}
    bullets = tuple(b for b, s in zip(summary.bullets, report.statements, strict=True) if s.span in kept)
    return replace(summary, bullets=bullets)
