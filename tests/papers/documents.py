"""Papers made up by a seed, and the documents that arXiv's interfaces would send of them, in every recorded shape."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape, quoteattr

WORDS = (
    "latent", "denoising", "guidance", "sampler", "noise", "schedule", "token", "transformer", "image", "video", "motion", "texture",
    "depth", "camera", "prompt", "adapter", "training", "free", "fast", "robust", "neural", "field", "surface", "layout", "identity",
    "style", "edit", "score", "flow", "bridge", "prior", "step", "memory", "attention",
)  # fmt: skip
FAMILIES = ("Müller", "Li", "O'Neil", "García", "van den Berg", "Okafor", "Sato", "Nguyễn", "Smith", "Ångström")
GIVEN = ("Ada", "Jörg", "Wei", "Noor", "Ren", "María", "Kofi", "Yuki", "Lê", "J. R.")
TRAPS = ("T2* < 5 & x > 1", "``quoted'' 35\\% $x_{t}$", "the [best](way) #1", "plain words", "naïve `code` — dashes")
LICENCE = "http://creativecommons.org/licenses/by/4.0/"


@dataclass(frozen=True)
class Made:
    """A paper of the made-up archive. ``versions`` are times of submission (UTC); ``changed`` is OAI's datestamp."""

    id: str
    title: str
    abstract: str
    authors: tuple[tuple[str, str], ...]
    categories: tuple[str, ...]
    versions: tuple[str, ...]
    changed: str
    comments: str | None = None
    doi: str | None = None
    journal: str | None = None
    deleted: bool = False

    @property
    def published(self) -> str:
        return self.versions[0]


def make(n: int, *, seed: int = 0, first: str = "2024-03-04", days: int = 5, serial: int = 1) -> list[Made]:
    """``n`` papers submitted evenly over ``days`` from ``first``, of one month, numbered from ``serial``."""
    rng = random.Random(seed)
    begin = datetime.fromisoformat(first).replace(tzinfo=UTC)
    made = []
    for at in range(n):
        moment = begin + timedelta(seconds=int(at * days * 86400 / n) + 30)
        versions = [moment + timedelta(days=step) for step in range(rng.choice((1, 1, 1, 2, 3)))]
        stamps = tuple(when.strftime("%Y-%m-%dT%H:%M:%SZ") for when in versions)
        text = [" ".join(rng.choices(WORDS, k=rng.randint(6, 14))).capitalize() for _ in range(rng.randint(4, 9))]
        categories = tuple(dict.fromkeys(["cs.CV", *rng.choices(("cs.LG", "cs.GR", "eess.IV"), k=rng.randint(0, 2))]))
        made.append(
            Made(
                f"{begin:%y%m}.{serial + at:05}",
                f"{' '.join(rng.choices(WORDS, k=6)).capitalize()}: {rng.choice(TRAPS)}",
                ". ".join([*text, rng.choice(TRAPS)]) + ".",
                tuple((rng.choice(FAMILIES), rng.choice(GIVEN)) for _ in range(rng.randint(1, 5))),
                categories,
                stamps,
                stamps[-1][:10],
                rng.choice((None, "12 pages, code at https://github.com/x/y", "Accepted at a venue")),
                rng.choice((None, None, f"10.1000/{at}")),
                rng.choice((None, None, f"Journal {at}")),
            )
        )
    return made


def atom(
    papers: Sequence[Made], *, total: int | None = None, start: int = 0, shape: str = "2026", updated: str = "2024-03-20"
) -> bytes:
    """The API's answer. ``shape`` 2025: wrapped texts, http links; 2026: one line, https links, another order."""
    total = len(papers) if total is None else total
    entries = "\n".join((_entry_2025 if shape == "2025" else _entry_2026)(paper) for paper in papers)
    if shape == "2025":
        head = (
            f'<link href="http://arxiv.org/api/query?x" rel="self" type="application/atom+xml"/>\n<title type="html">Query</title>\n'
            f"<id>http://arxiv.org/api/x</id>\n<updated>{updated}T00:00:00-04:00</updated>\n"
        )
        space = ' xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/"'
        counts = "".join(
            f"<opensearch:{name}{space}>{value}</opensearch:{name}>\n" for name, value in _counts(total, start, papers)
        )
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n{head}{counts}{entries}</feed>\n'.encode()
    counts = "".join(f"<opensearch:{name}>{value}</opensearch:{name}>" for name, value in _counts(total, start, papers))
    spaces = 'xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/" xmlns:arxiv="http://arxiv.org/schemas/atom"'
    head = f"<id>https://arxiv.org/api/x</id><title>arXiv Query</title><updated>{updated}T04:00:00Z</updated>"
    return f'<?xml version="1.0" encoding="UTF-8"?><feed {spaces} xmlns="http://www.w3.org/2005/Atom">{head}{counts}{entries}</feed>'.encode()


def _counts(total: int, start: int, papers: Sequence[Made]) -> tuple[tuple[str, int], ...]:
    return ("totalResults", total), ("startIndex", start), ("itemsPerPage", len(papers))


def _wrapped(text: str, width: int = 79) -> str:
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines, line = [*lines, line], word
        else:
            line = f"{line} {word}" if line else word
    return "\n  ".join([*lines, line])


def _optional(paper: Made, space: str = "") -> str:
    told = (("comment", paper.comments), ("journal_ref", paper.journal), ("doi", paper.doi))
    return "\n".join(f"<arxiv:{name}{space}>{escape(text)}</arxiv:{name}>" for name, text in told if text)


def _entry_2025(paper: Made) -> str:
    space = ' xmlns:arxiv="http://arxiv.org/schemas/atom"'
    where = f"http://arxiv.org/abs/{paper.id}v{len(paper.versions)}"
    people = "\n".join(
        f"<author>\n<name>{given} {family}</name>\n" + (f"<arxiv:affiliation{space}>An Institute</arxiv:affiliation>\n" if not at else "")
        + "</author>" for at, (family, given) in enumerate(paper.authors)
    )  # fmt: skip
    terms = "\n".join(
        f'<category term="{term}" scheme="http://arxiv.org/schemas/atom"/>' for term in (*paper.categories, "68T45", "I.2.10")
    )
    return (
        f"<entry>\n<id>{where}</id>\n<updated>{paper.versions[-1]}</updated>\n<published>{paper.published}</published>\n"
        f"<title>{escape(_wrapped(paper.title))}</title>\n<summary>  {escape(_wrapped(paper.abstract))}\n</summary>\n{people}\n"
        f'{_optional(paper, space)}\n<link href="{where}" rel="alternate" type="text/html"/>\n'
        f'<arxiv:primary_category{space} term="{paper.categories[0]}" scheme="http://arxiv.org/schemas/atom"/>\n{terms}\n</entry>'
    )


def _entry_2026(paper: Made) -> str:
    where = f"arxiv.org/abs/{paper.id}v{len(paper.versions)}"
    terms = "".join(
        f"<category term={quoteattr(term)} scheme='http://arxiv.org/schemas/atom'/>" for term in reversed(paper.categories)
    )
    people = "".join(f"<author><name>{given} {family}</name></author>" for family, given in paper.authors)
    return (
        f"<entry><id>http://{where}</id><title>{escape(paper.title)}</title><updated>{paper.versions[-1]}</updated>"
        f"<link href='https://{where}' rel='alternate'/><summary>{escape(paper.abstract)}</summary>{terms}"
        f"<published>{paper.published}</published>{_optional(paper)}<arxiv:primary_category term='{paper.categories[0]}'/>"
        f"<arxiv:new_element>kept</arxiv:new_element>{people}</entry>"
    )


def atom_error(message: str) -> bytes:
    """The API's way to refuse: an entry."""
    where = f"http://arxiv.org/api/errors#{message.replace(' ', '_')}"
    entry = f"<entry><id>{where}</id><title>Error</title><summary>{message}</summary><author><name>arXiv api core</name></author></entry>"
    counts = '<opensearch:totalResults xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">1</opensearch:totalResults>'
    return f'<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>Query</title>{counts}{entry}</feed>'.encode()


def rss(announced: Sequence[tuple[Made, str]], *, day: str = "2024-03-05") -> bytes:
    """The day's announcements as RSS: (paper, type)."""
    date = datetime.fromisoformat(day).strftime("%a, %d %b %Y 00:00:00 -0500")
    items = "".join(
        f"<item><title>{escape(paper.title)}</title><link>https://arxiv.org/abs/{paper.id}</link><description>arXiv:{paper.id}"
        f"v{len(paper.versions)} Announce Type: {kind} \nAbstract: {escape(paper.abstract)}</description>"
        f'<guid isPermaLink="false">oai:arXiv.org:{paper.id}v{len(paper.versions)}</guid>'
        + "".join(f"<category>{term}</category>" for term in paper.categories)
        + f"<pubDate>{date}</pubDate><arxiv:announce_type>{kind}</arxiv:announce_type><dc:rights>{LICENCE}</dc:rights>"
        f"<dc:creator>{escape(', '.join(f'{given} {family}' for family, given in paper.authors))}</dc:creator></item>"
        for paper, kind in announced
    )
    spaces = 'xmlns:arxiv="http://arxiv.org/schemas/atom" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:atom="http://www.w3.org/2005/Atom"'
    return (
        f"<?xml version='1.0' encoding='UTF-8'?><rss {spaces} version=\"2.0\"><channel><title>cs.CV updates on arXiv.org</title>"
        f'<link>http://rss.arxiv.org/rss/cs.CV</link><atom:link href="http://rss.arxiv.org/rss/cs.CV" rel="self"/>'
        f"<lastBuildDate>{date}</lastBuildDate><pubDate>{date}</pubDate><skipDays><day>Sunday</day><day>Saturday</day></skipDays>"
        f"{items}</channel></rss>"
    ).encode()


def announcements_atom(announced: Sequence[tuple[Made, str]], *, day: str = "2024-03-05") -> bytes:
    """The same announcements as Atom."""
    entries = "".join(
        f"<entry><id>oai:arXiv.org:{paper.id}v{len(paper.versions)}</id><title>{escape(paper.title)}</title>"
        f"<updated>{day}T05:00:00+00:00</updated><link href='https://arxiv.org/abs/{paper.id}' rel='alternate'/>"
        f"<summary>arXiv:{paper.id}v{len(paper.versions)} Announce Type: {kind} \nAbstract: {escape(paper.abstract)}</summary>"
        + "".join(f"<category term='{term}'/>" for term in paper.categories)
        + f"<published>{day}T00:00:00-05:00</published><arxiv:announce_type>{kind}</arxiv:announce_type><dc:creator>"
        f"{escape(', '.join(f'{given} {family}' for family, given in paper.authors))}</dc:creator></entry>"
        for paper, kind in announced
    )
    spaces = 'xmlns="http://www.w3.org/2005/Atom" xmlns:arxiv="http://arxiv.org/schemas/atom" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    return f"<?xml version='1.0' encoding='UTF-8'?><feed {spaces}><id>x</id><updated>{day}T05:00:00Z</updated>{entries}</feed>".encode()


def oai_record(paper: Made, prefix: str) -> str:
    """One record as ``arXiv`` or ``arXivRaw``, or the header of a deleted one."""
    status = ' status="deleted"' if paper.deleted else ""
    header = (
        f"<header{status}><identifier>oai:arXiv.org:{paper.id}</identifier><datestamp>{paper.changed}</datestamp>"
        "<setSpec>cs:cs:CV</setSpec></header>"
    )
    if paper.deleted:
        return f"<record>{header}</record>"
    told = [("title", _wrapped(paper.title)), ("categories", " ".join(paper.categories)), ("comments", paper.comments),
            ("journal-ref", paper.journal), ("doi", paper.doi), ("license", LICENCE), ("abstract", f"  {_wrapped(paper.abstract)}\n"),
            ("report-no", "X-1")]  # fmt: skip
    body = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in told if text)
    if prefix == "arXivRaw":
        dates = [datetime.fromisoformat(when).strftime("%a, %d %b %Y %H:%M:%S GMT") for when in paper.versions]
        history = "".join(
            f'<version version="v{n}"><date>{date}</date><size>{n}00kb</size><source_type>D</source_type></version>'
            for n, date in enumerate(dates, start=1)
        )
        people = ", ".join(f"{given} {family}" for family, given in paper.authors)
        body = f"<submitter>Someone</submitter>{history}<authors>{escape(people)}</authors>{body}"
    else:
        people = "".join(
            f"<author><keyname>{escape(family)}</keyname><forenames>{given}</forenames></author>"
            for family, given in paper.authors
        )
        changed = f"<updated>{paper.versions[-1][:10]}</updated>" if len(paper.versions) > 1 else ""
        body = f"<created>{paper.published[:10]}</created>{changed}<authors>{people}</authors>{body}"
    space = f'xmlns="http://arxiv.org/OAI/{prefix}/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    return f"<record>{header}<metadata><{prefix} {space}><id>{paper.id}</id>{body}</{prefix}></metadata></record>"


def oai(
    papers: Sequence[Made],
    *,
    token: str | None = None,
    prefix: str = "arXivRaw",
    responded: str = "2024-03-20T06:00:00Z",
    error: str = "",
) -> bytes:
    """A list of records, with ``token`` ('' on the last of several pages), or an error of this code."""
    records = "".join(oai_record(paper, prefix) for paper in papers)
    more = "" if token is None else f'<resumptionToken expirationDate="2024-03-21T00:00:00Z">{escape(token)}</resumptionToken>'
    body = f'<error code="{error}">for a test</error>' if error else f"<ListRecords>{records}{more}</ListRecords>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><responseDate>{responded}'
        f'</responseDate><request verb="ListRecords">http://oaipmh.arxiv.org/oai</request>{body}</OAI-PMH>'
    ).encode()


def revised(paper: Made, when: str) -> Made:
    """The paper with one more version, submitted at ``when``."""
    return replace(paper, versions=(*paper.versions, when), changed=when[:10], abstract=f"{paper.abstract} Revised.")
