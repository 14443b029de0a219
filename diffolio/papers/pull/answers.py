"""What a host answered: its body or why it was refused, how long it asks to wait, and whether an address is still its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from diffolio.errors import BadInput, SourceError
from diffolio.papers.pull.fields import stamp


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes
    url: str


def accepted(response: Response) -> bytes:
    """The body of a good answer. A refusal of the API explains itself in an error entry."""
    if response.status == 200:
        return response.body
    from diffolio.papers.pull import atom

    why = ""
    try:
        list(atom.read(response.body))
    except SourceError as error:
        why = f": {error}"
    except BadInput:
        pass
    raise SourceError(f"{shown(response.url)} was refused with status {response.status}{why}")


def retry_after(response: Response, now: float) -> float:
    """Seconds that the answer asks to wait, as a number or a date by the server's own clock; 0 where it does not."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if until := stamp(text):
        date = stamp(response.headers.get("date"))
        return max(0.0, _epoch(until) - (_epoch(date) if date else now))
    return 0.0


def _epoch(stamped: str) -> float:
    return datetime.fromisoformat(stamped.replace("Z", "+00:00")).replace(tzinfo=UTC).timestamp()


def same_site(url: str, target: str) -> bool:
    """Whether both belong to one site, as export.arxiv.org and arxiv.org do."""
    here, there = urlsplit(url), urlsplit(target)
    names = [(part.hostname or "") for part in (here, there)]
    sites = [name if name.replace(".", "").isdigit() else ".".join(name.split(".")[-2:]) for name in names]
    return there.scheme in ("http", "https") and sites[0] == sites[1] and not (here.scheme == "https" and there.scheme == "http")


def shown(url: str) -> str:
    return url if len(url) <= 120 else url[:117] + "..."
