"""What the check found: per statement one verdict, with every finding behind it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

SUPPORTED, CONTRADICTED, NOT_IN_RECORD, UNCHECKED = "supported", "contradicted", "not in the record", "cannot be checked"
VERDICTS = (SUPPORTED, UNCHECKED, NOT_IN_RECORD, CONTRADICTED)  # from best to worst
KINDS = (
    "ids", "links", "code", "title", "people", "affiliation", "workload", "numbers", "hedges", "names", "keywords", "terms",
    "strength", "quotes", "leftovers", "form",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing wrong, doubtful, or (for a field) right. ``span`` in the checked text; ``replacement`` is the record's value.

    ``in_paper``: the record lacks it, the paper on disk has it.
    """

    kind: str
    verdict: str
    span: tuple[int, int]
    why: str
    replacement: str | None = None
    in_paper: bool = False


@dataclass(frozen=True)
class Statement:
    """One sentence, bullet or field of a summary."""

    part: str
    span: tuple[int, int]
    text: str
    verdict: str
    findings: tuple[Finding, ...] = ()
    quote: str | None = None

    @property
    def kind(self) -> str | None:
        """The kind of the worst finding."""
        worst = self._worst()
        return worst.kind if worst else None

    @property
    def why(self) -> str:
        worst = self._worst()
        if worst:
            return worst.why
        return "stands in the record word for word" if self.verdict == SUPPORTED else "nothing in it contradicts the record"

    def _worst(self) -> Finding | None:
        return max(self.findings, key=lambda finding: VERDICTS.index(finding.verdict), default=None)


@dataclass(frozen=True)
class Report:
    """The check of one summary against one record."""

    id: str
    text: str
    statements: tuple[Statement, ...]
    notes: tuple[Finding, ...] = field(default=())  # on the summary as a whole: what it lacks, how it is laid out

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for statement in self.statements for finding in statement.findings) + self.notes

    @property
    def verdict(self) -> str:
        """The worst verdict of all statements."""
        return max((s.verdict for s in self.statements), key=VERDICTS.index, default=UNCHECKED)

    def tally(self) -> dict[str, int]:
        """How many statements have each verdict."""
        counts = Counter(statement.verdict for statement in self.statements)
        return {verdict: counts[verdict] for verdict in VERDICTS}

    def of_kind(self, *kinds: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind in kinds]

    def to_json(self) -> dict[str, Any]:
        """For the store: everything but the text itself."""
        return {
            "id": self.id,
            "verdict": self.verdict,
            "tally": self.tally(),
            "statements": [
                {"part": s.part, "span": list(s.span), "verdict": s.verdict, "findings": [_json(f) for f in s.findings]}
                for s in self.statements
            ],
            "notes": [_json(finding) for finding in self.notes],
        }


def _json(finding: Finding) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(finding).items() if value}
