"""How things fail: one family of errors whose messages say what was given, what is needed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DiffolioError(Exception):
    """Base of every error that Diffolio raises on purpose."""


class BadInput(DiffolioError, ValueError):
    """A value given by the user cannot be used."""


class UnknownName(BadInput):
    """A name that is not in a list; the message carries the nearest ones."""


class BadKnob(BadInput):
    """A knob out of range or of the wrong type."""


class Unsupported(DiffolioError):
    """A method, pipeline or option that does not work on what it was given."""


class Conflict(DiffolioError):
    """Two techniques claim the same exclusive place in one model."""


class NotFinite(DiffolioError, ArithmeticError):
    """NaN or infinity appeared where numbers were expected."""


class TrainingStopped(DiffolioError):
    """Training cannot start or go on."""


class LibraryError(DiffolioError):
    """The library of papers cannot be opened, read or written."""


class SourceError(DiffolioError):
    """A source on the network refused, failed or sent what cannot be read."""


class Offline(SourceError):
    """The network was needed while ``DIFFOLIO_OFFLINE=1`` forbids it."""


def nearest(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """The known names that look most like ``name``, best first."""
    known = list(known)
    folded = {k.lower().replace("-", "_"): k for k in known}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), folded, n=n, cutoff=0.5)
    inside = [k for f, k in folded.items() if name.lower() in f and f not in found]
    return [folded[f] for f in found] + inside[: max(0, n - len(found))]


def unknown(what: str, name: str, known: Iterable[str], hint: str = "") -> UnknownName:
    """An error for a ``name`` that is not among ``known``."""
    known = list(known)
    close = nearest(name, known)
    if close:
        advice = "Did you mean " + " or ".join(close) + "?"
    elif len(known) <= 12:
        advice = "Known: " + ", ".join(known) + "."
    else:
        advice = hint
    return UnknownName(" ".join(part for part in (f"unknown {what} {name!r}.", advice) if part))


def choose(what: str, name: str, known: tuple[str, ...]) -> str:
    """``name`` if it is known, an error with the nearest names if not."""
    if name not in known:
        raise unknown(what, name, known)
    return name
