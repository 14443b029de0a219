"""What of a summary an issue shows: its statements after the fact check, the false ones replaced or left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from diffolio.errors import DiffolioError
from diffolio.papers.record import ImportedSummary
from diffolio.papers.summaries.check import check
from diffolio.papers.summaries.report import CONTRADICTED, NOT_IN_RECORD, SUPPORTED, UNCHECKED, Report
from diffolio.papers.summaries.settle import settle
from diffolio.papers.summaries.summary import Summary
from diffolio.papers.view import Paper
from diffolio.papers.view import Summary as Stored

MARKS = {SUPPORTED: "✓", UNCHECKED: "?", NOT_IN_RECORD: "!", CONTRADICTED: "✗"}
_BEST = ("endpoint", "extractive", "imported")
_UNLABELLED = ("text", "summary", "tldr")


@dataclass(frozen=True)
class Statement:
    """One statement; ``verdict`` of summaries.report, ``why`` its reason, ``quote`` the words of the source it rests on."""

    text: str
    verdict: str
    label: str = ""
    why: str = ""
    quote: str | None = None

    @property
    def mark(self) -> str:
        return MARKS[self.verdict]

    @property
    def doubt(self) -> str:
        """What to print beside the statement: that the record does not say it, and why that is known; else ''."""
        return "" if self.verdict in (SUPPORTED, UNCHECKED) else f"{self.verdict}: {self.why}" if self.why else self.verdict


@dataclass(frozen=True)
class ShownSummary:
    """A summary as an issue prints it: ``by`` says who wrote it, ``dropped`` counts the statements that were left out."""

    kind: str
    language: str
    by: str
    statements: tuple[Statement, ...]
    dropped: int = 0

    @property
    def tally(self) -> str:
        """``4 supported, 1 not in the record; 1 left out``."""
        found = Counter(statement.verdict for statement in self.statements)
        told = ", ".join(f"{found[verdict]} {verdict}" for verdict in MARKS if found[verdict])
        return told + (f"; {self.dropped} left out" if self.dropped else "")


def shown_summary(paper: Paper, *, strict: bool = False) -> ShownSummary | None:
    """The best summary of a paper (an endpoint's, else an extract, else a foreign digest's), checked against the record as it
    is now; None where there is none, or nothing of it is left.

    Statements that contradict the record are left out or replaced by the record's value; ``strict`` leaves out those that are
    not in the record, too.
    """
    ranked = sorted(paper.summaries, key=lambda s: (_BEST.index(s.kind) if s.kind in _BEST else len(_BEST), -(s.version or 0)))
    for stored in ranked:
        try:
            report = check(_readable(stored), paper)
        except DiffolioError:
            continue  # of a newer schema, or no summary at all: the next best one speaks
        if told := _shown(stored, report, strict):
            return told
    return None


def _readable(stored: Stored) -> Summary | ImportedSummary:
    """Of a foreign digest only the summary and the takeaways are shown, so only they are checked."""
    if stored.kind == "imported":
        told = stored.body
        return ImportedSummary("", stored.language, told.get("summary"), tuple(told.get("takeaways") or ()))
    return Summary.from_json(stored.body)


def _shown(stored: Stored, report: Report, strict: bool) -> ShownSummary | None:
    kept = settle(report, strict=strict).shown
    statements = []
    for each in kept:
        replaced = each.text != each.statement.text
        verdict = SUPPORTED if replaced else each.statement.verdict
        label = "" if each.part in _UNLABELLED else each.part
        statements.append(Statement(each.text, verdict, label, each.statement.why, each.statement.quote))
    if not statements:
        return None
    return ShownSummary(stored.kind, stored.language, _by(stored), tuple(statements), len(report.statements) - len(kept))


def _by(stored: Stored) -> str:
    about = f", from v{stored.version}" if stored.version else ""
    if stored.kind == "extractive":
        return f"sentences of the abstract, word for word{about}"
    writer = "for the digest" if stored.kind == "imported" else "named"
    return f"written by a model {writer} {stored.model or '(unknown)'}{about}, checked against the record"
