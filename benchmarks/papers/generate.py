"""Made-up papers for the benchmarks: seeded, fast, and with the statistics that search and recommendation depend on.

Words follow a Zipf law over 120,000 forms. Every paper belongs to one of 96 hidden topics (some also touch a second one)
whose words occur together, so what a recommender finds can be scored exactly. Planted phrases are made of words that occur
nowhere else, so how many papers hold each is known exactly: :func:`planted_counts`.

python benchmarks/papers/generate.py [-n 20000]
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from diffolio.papers.record import Author, Record, Version

FIRST_YEAR, YEARS = 2010, 15
LARGEST = 2_000_000  # a month of the years with four-digit numbers holds 9,999 papers
VOCABULARY, AUTHORS = 120_000, 60_000
BLOCK = 2_000  # papers drawn at once

# phrase -> (hits, out of): paper i has it exactly when (i * 7919) % out_of < hits. Titles hold the last two.
PLANTED = {
    "model": (89, 100),
    "diffusion": (1, 6),
    "flow matching": (1, 150),
    "classifier free guidance": (1, 400),
    "optimal transport": (1, 1000),
    "token merging": (1, 2000),
    "quasar spectroscopy": (1, 5000),
    "knot invariants": (1, 10_000),
}
IN_TITLE = ("quasar spectroscopy", "knot invariants")

AREAS = {
    "cs.CV": ("cs.LG", "cs.AI", "eess.IV"), "cs.LG": ("stat.ML", "cs.AI", "cs.CV"), "cs.CL": ("cs.AI", "cs.LG", "cs.IR"),
    "cs.RO": ("cs.AI", "cs.CV", "cs.LG"), "astro-ph.GA": ("astro-ph.CO", "gr-qc"), "hep-th": ("gr-qc", "math-ph"),
    "math.AP": ("math.NA", "math.PR"), "cond-mat.mtrl-sci": ("physics.comp-ph", "quant-ph"),
}  # fmt: skip
TOPICS_PER_AREA = 12
HEAD = """
the of and a to in we is for that on with this by are as our from an be which can it results using show method data
based approach these propose two between has learning have paper new at both performance such not problem also more
training or used methods large high time network first system analysis function study information state different
experiments over through structure number existing proposed present several under than then via framework into order
while when well set given each their however work one field energy quality images neural task tasks features novel
""".split()  # noqa: SIM905
FAMILIES = """
Müller García Nguyễn Łukasz Šimek Öztürk Ó'Neil Wang Chen Kim Singh Tanaka Ivanov Rossi Silva Haddad Okafor Larsen
Dubois Novak Papadakis Cohen Suzuki Park Zhang Liu Moreau Jensen Virtanen Kowalska
""".split()  # noqa: SIM905
GIVENS = """
Ana Bo Chiara Dmitri Émile Fatima Goran Hana Iván Jun Kaito Lena Mei Nia Omar Priya Qiang Rosa Søren Tomás Uma
""".split()  # noqa: SIM905


@dataclass(frozen=True)
class Words:
    """What every draw of one seed shares: word forms, and tables whose uniformly drawn entries follow each distribution."""

    lower: list[str]
    capital: list[str]
    background: np.ndarray  # (2^20,)
    area: np.ndarray  # (areas, 4096)
    topic: np.ndarray  # (topics, 1024)
    authors: list[Author]
    author: np.ndarray  # (2^18,)
    topic_share: np.ndarray  # (topics,)
    areas: list[str] = field(default_factory=lambda: list(AREAS))


def records(n: int, seed: int = 0) -> Iterator[Record]:
    """``n`` papers in the order of their ids, as the OAI source would give them."""
    return (record for record, _ in labelled(n, seed))


def labelled(n: int, seed: int = 0) -> Iterator[tuple[Record, int]]:
    """The same papers, each with its hidden topic (0..95)."""
    if not 0 <= n <= LARGEST:
        raise ValueError(f"{n} papers asked for, 0 to {LARGEST:,} can be made")
    words, rng = _words(seed), np.random.default_rng((seed, 1))
    places = _places(n)
    for start in range(0, n, BLOCK):
        yield from _block(words, rng, start, list(itertools.islice(places, min(BLOCK, n - start))))


def planted_counts(n: int) -> dict[str, int]:
    """How many of ``n`` papers hold each planted phrase."""
    return {phrase: int(_has(np.arange(n), hits, of).sum()) for phrase, (hits, of) in PLANTED.items()}


def topic_shares(seed: int = 0) -> list[float]:
    """The share of papers that each topic has, by topic number."""
    return _words(seed).topic_share.tolist()


def _has(i: np.ndarray, hits: int, of: int) -> np.ndarray:
    return (i * 7919) % of < hits


def _table(items: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """``size`` entries in which each item appears in proportion to its weight, at least the heaviest ones."""
    edges = np.cumsum(weights) / weights.sum()
    return items[np.searchsorted(edges, (np.arange(size) + 0.5) / size)].astype(np.int32)


def _forms(rng: np.random.Generator) -> list[str]:
    """Distinct pronounceable words, short ones first; none begins like a planted word, so that no stem is shared."""
    onsets = "b c d f g h k l m n p r s t v z br cl dr gr pl st tr".split()  # noqa: SIM905
    syllables = [onset + vowel for onset in onsets for vowel in "aeiou"]
    taken = {word[:4] for phrase in PLANTED for word in phrase.split()} | {word[:4] for word in HEAD}
    ends = ["n", "r", "s", "l", "x", "t", "nd", "m"]
    forms, seen = list(HEAD), set(HEAD)
    while len(forms) < VOCABULARY:
        length = 2 if len(forms) < 4_000 else 3
        parts = rng.integers(0, len(syllables), (20_000, length)).tolist()
        tails = rng.integers(0, len(ends), 20_000).tolist()
        for part, tail in zip(parts, tails, strict=True):
            word = "".join(syllables[p] for p in part) + ends[tail]
            if word not in seen and word[:4] not in taken:
                seen.add(word)
                forms.append(word)
            if length == 2 and len(forms) >= 4_000:
                break
    return forms[:VOCABULARY]


def _words(seed: int) -> Words:
    rng = np.random.default_rng((seed, 0))
    forms = _forms(rng)
    rank = np.arange(VOCABULARY)
    topics = len(AREAS) * TOPICS_PER_AREA

    def own(low: int, high: int, count: int, size: int) -> np.ndarray:
        chosen = rng.choice(np.arange(low, high), count, replace=False)
        return _table(chosen, 1 / (np.arange(count) + 8.0), size)

    names = [
        Author(f"{GIVENS[g]} {chr(65 + m)}. {FAMILIES[f]}{'-' + forms[w].title() if w else ''}")
        for g, m, f, w in zip(
            rng.integers(0, len(GIVENS), AUTHORS).tolist(),
            rng.integers(0, 26, AUTHORS).tolist(),
            rng.integers(0, len(FAMILIES), AUTHORS).tolist(),
            (rng.integers(len(HEAD), 9_000, AUTHORS) * (rng.random(AUTHORS) < 0.7)).tolist(),
            strict=True,
        )
    ]
    share = rng.permutation(1 / (np.arange(topics) + 3.0))
    return Words(
        lower=forms,
        capital=[form[0].upper() + form[1:] for form in forms],
        background=_table(rank, 1 / (rank + 2.7) ** 1.05, 1 << 20),
        area=np.stack([own(100, 12_000, 800, 4096) for _ in AREAS]),
        topic=np.stack([own(200, 40_000, 400, 1024) for _ in range(topics)]),
        authors=names,
        author=_table(np.arange(AUTHORS), 1 / (np.arange(AUTHORS) + 50.0), 1 << 18),
        topic_share=share / share.sum(),
    )


def _places(n: int) -> Iterator[tuple[str, str]]:
    """Id and time of submission of each paper: more papers every year, spread evenly inside a month."""
    months = YEARS * 12
    edges = np.cumsum(0.5 + np.arange(months) / months)
    edges = np.concatenate([[0], np.round(edges / edges[-1] * n)]).astype(int)
    for month in range(months):
        count, year = int(edges[month + 1] - edges[month]), FIRST_YEAR + month // 12
        digits = 4 if year < 2015 else 5
        for serial in range(1, count + 1):
            second = (serial - 1) * (28 * 86_400) // count
            day, hour, minute = second // 86_400 + 1, second // 3600 % 24, second // 60 % 60
            stamp = f"{year}-{month % 12 + 1:02}-{day:02}T{hour:02}:{minute:02}:{second % 60:02}Z"
            yield f"{year % 100:02}{month % 12 + 1:02}.{serial:0{digits}}", stamp


def _block(words: Words, rng: np.random.Generator, start: int, places: list[tuple[str, str]]) -> Iterator[tuple[Record, int]]:
    n = len(places)
    topic = rng.choice(len(words.topic_share), n, p=words.topic_share)
    second = np.where(rng.random(n) < 0.3, rng.choice(len(words.topic_share), n, p=words.topic_share), topic)
    strength = rng.beta(1.2, 28.0, n)  # the share of words that the topic supplies: 4 % on average, often under 2 %
    lengths = rng.integers(120, 201, n)
    title_lengths = rng.integers(5, 13, n)

    def draw(counts: np.ndarray, gain: float) -> list[list[int]]:
        paper = np.repeat(np.arange(n), counts)
        u, r = rng.random(len(paper), dtype=np.float32), rng.integers(0, 1 << 20, len(paper), dtype=np.int32)
        ids = words.background[r]
        own = u < np.minimum(0.6, strength * gain)[paper]
        near = ~own & (u < 0.6 * gain / 3)
        ids[near] = words.area[topic[paper[near]] // TOPICS_PER_AREA, r[near] & 4095]
        which = np.where(r[own] >> 10 & 3, topic[paper[own]], second[paper[own]])  # the second topic gives a quarter
        ids[own] = words.topic[which, r[own] & 1023]
        ends = np.cumsum(counts).tolist()
        flat = ids.tolist()
        return [flat[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    abstracts, titles = draw(lengths, 1.0), draw(title_lengths, 2.0)
    phrases: list[list[str]] = [[] for _ in range(n)]
    for phrase, (hits, of) in PLANTED.items():
        for i in np.flatnonzero(_has(np.arange(start, start + n), hits, of)).tolist():
            phrases[i].append(phrase)
    people = words.author[rng.integers(0, 1 << 18, (n, 12))].tolist()
    team = np.minimum(12, 1 + rng.poisson(3.4, n)).tolist()
    sentence = rng.integers(13, 25, n).tolist()
    place = rng.integers(5, 100, n).tolist()
    extra = rng.random((n, 4)).tolist()
    revisions = np.minimum(5, rng.geometric(0.65, n)).tolist()
    for i, (base, submitted) in enumerate(places):
        text = _prose(words, abstracts[i], sentence[i])
        title = " ".join(map(words.capital.__getitem__, titles[i]))
        for j, phrase in enumerate(phrases[i]):
            if phrase in IN_TITLE:
                title += " and " + phrase.title()
            else:
                at = place[i] + 3 * j
                at += (at + 1) % sentence[i] == 0  # never behind the full stop
                text[at] += " " + phrase
        yield _record(words, base, submitted, title, " ".join(text), int(topic[i]), people[i][: team[i]], extra[i], revisions[i]), \
            int(topic[i])  # fmt: skip


def _prose(words: Words, ids: list[int], length: int) -> list[str]:
    """The words, cut into sentences of ``length`` words."""
    text = list(map(words.lower.__getitem__, ids))
    for first in range(0, len(ids), length):
        text[first] = words.capital[ids[first]]
        if first:
            text[first - 1] += "."
    text[-1] += "."
    return text


def _record(
    words: Words, base: str, submitted: str, title: str, abstract: str, topic: int, team: list[int], u: list[float], version: int
) -> Record:
    primary = words.areas[topic // TOPICS_PER_AREA]
    others = AREAS[primary]
    updated = submitted if version == 1 else f"{int(submitted[:4]) + 1}{submitted[4:]}"
    if u[0] < 0.1:
        abstract += f" Code: https://github.com/lab{topic}/{base.replace('.', '-')}"
    return Record(
        id=base,
        source="oai",
        title=title,
        abstract=abstract,
        authors=tuple({a: words.authors[a] for a in team}.values()),
        categories=(primary, *others[: int(u[1] * (len(others) + 1))]),
        comments=f"{int(4 + u[2] * 40)} pages, {int(u[3] * 15)} figures" if u[2] < 0.6 else None,
        journal_ref=f"J. Made Up Res. {int(u[3] * 90)} ({submitted[:4]})" if u[3] < 0.2 else None,
        doi=f"10.5555/{base}" if u[3] < 0.2 else None,
        licence="http://creativecommons.org/licenses/by/4.0/" if u[1] < 0.4 else None,
        published=submitted,
        updated=updated,
        version=version,
        versions=(Version(1, submitted),) if version == 1 else (Version(1, submitted), Version(version, updated)),
        withdrawn=u[2] > 0.998,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=20_000)
    n = parser.parse_args().n
    first = next(records(1))
    print(first)
    began = time.perf_counter()
    text = sum(len(record.abstract or "") for record in records(n))
    seconds = time.perf_counter() - began
    print(f"{n:,} papers in {seconds:.1f} s, {n / seconds:,.0f} a second, {text / n:.0f} characters an abstract")
    print(planted_counts(n))


if __name__ == "__main__":
    main()
