"""Summaries that can be trusted: sentences taken verbatim, an endpoint's held to quotes, and a check of both and of others'."""

from __future__ import annotations

from diffolio.papers.summaries.check import check, check_imported
from diffolio.papers.summaries.endpoint import Outcome, summarize_endpoint
from diffolio.papers.summaries.extract import extract
from diffolio.papers.summaries.report import CONTRADICTED, NOT_IN_RECORD, SUPPORTED, UNCHECKED, Finding, Report, Statement
from diffolio.papers.summaries.settle import Settled, Shown, settle, settled_summary
from diffolio.papers.summaries.source import Source, paper_text
from diffolio.papers.summaries.summary import Bullet, Summary

__all__ = [
    "CONTRADICTED", "NOT_IN_RECORD", "SUPPORTED", "UNCHECKED", "Bullet", "Finding", "Outcome", "Report", "Settled", "Shown",
    "Source", "Statement", "Summary", "check", "check_imported", "extract", "paper_text", "settle", "settled_summary",
    "summarize_endpoint",
]  # fmt: skip
