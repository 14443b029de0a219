"""Claims: one experiment per method, and the evidence that they left."""

from diffolio.claims.base import AtLeast, AtMost, Claim, Outcome, Row
from diffolio.claims.evidence import load_evidence, rows

__all__ = ["AtLeast", "AtMost", "Claim", "Outcome", "Row", "load_evidence", "rows"]
