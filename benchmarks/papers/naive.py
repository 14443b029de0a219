"""Search as a plain scan in Python over tokens: slow, obvious, and the judge of the fast one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from diffolio.papers.identifiers import key_of
from diffolio.papers.merge import day_of
from diffolio.papers.nodes import And, Fact, Id, Node, Not, Or, SameAuthor, Words
from diffolio.papers.query import parse
from diffolio.papers.record import Record
from diffolio.papers.stemming import split_words, stems

WEIGHTS = {"title": 10.0, "abstract": 1.0, "author": 5.0, "comment": 1.0}
INDEXES = (("title", "abstract"), ("author", "comment"))
K1, B = 1.2, 0.75


@dataclass(frozen=True)
class Doc:
    key: int
    record: Record
    columns: dict[str, list[str]]  # terms by column


def docs_of(records: Sequence[Record]) -> list[Doc]:
    titles = stems([record.title or "" for record in records])
    abstracts = stems([record.abstract or "" for record in records])
    found = []
    for record, title, abstract in zip(records, titles, abstracts, strict=True):
        authors = [word for author in record.authors or () for word in split_words(author.name)]
        columns = {"title": title, "abstract": abstract, "author": authors, "comment": split_words(record.comments or "")}
        found.append(Doc(key_of(record.id), record, columns))
    return found


class Scan:
    """All papers, read one after the other for every query."""

    def __init__(self, docs: Sequence[Doc]) -> None:
        self.docs = sorted(docs, key=lambda doc: -doc.key)
        self.terms: dict[Words, tuple[str, ...]] = {}
        self.counts: dict[tuple[int, Words], float] = {}
        self.hits: dict[Words, int] = {}

    @cached_property
    def mean_lengths(self) -> list[float]:
        n = max(len(self.docs), 1)
        return [sum(len(doc.columns[column]) for doc in self.docs for column in columns) / n for columns in INDEXES]

    def search(self, query: str) -> list[int]:
        """Keys in the order that search promises, ranking every match."""
        read = parse(query)
        found = [doc for doc in self.docs if read.root is None or self.holds(doc, read.root)]
        if read.sort == "oldest":
            return [doc.key for doc in reversed(found)]
        if read.sort == "relevance":
            words = list(dict.fromkeys(positive(read.root)))
            found.sort(key=lambda doc: (int(self.score(doc, words) * 1e9), -doc.key))
        return [doc.key for doc in found]

    def holds(self, doc: Doc, node: Node) -> bool:
        if isinstance(node, And):
            return all(self.holds(doc, part) for part in node.parts)
        if isinstance(node, Or):
            return any(self.holds(doc, part) for part in node.parts)
        if isinstance(node, Not):
            return not self.holds(doc, node.part)
        if isinstance(node, Id):
            return doc.key == node.key
        if isinstance(node, Words):
            return node.field != "summary" and any(self.starts(doc, column, node) for column in columns_of(node))
        if isinstance(node, SameAuthor):
            return any(
                all(part in words for part in node.parts) and all(any(w.startswith(b) for w in words) for b in node.prefixes)
                for words in (split_words(author.name) for author in doc.record.authors or ())
            )
        return fact_holds(doc, node)

    def starts(self, doc: Doc, column: str, words: Words) -> int:
        """How often the words stand in a column, one after the other."""
        terms = doc.columns[column]
        wanted = self.wanted(words)
        if not wanted:
            return 0
        first, *rest = wanted
        count = 0
        for at, term in enumerate(terms):
            if (term == first or (not rest and words.prefix and term.startswith(first))) and len(terms) - at >= len(wanted):
                following = terms[at + 1 : at + len(wanted)]
                last = words.prefix and bool(rest) and following[-1].startswith(rest[-1])
                count += following == rest or (last and following[:-1] == rest[:-1])
        return count

    def wanted(self, words: Words) -> tuple[str, ...]:
        if words not in self.terms:
            plain = words.field in ("author", "comment")
            self.terms[words] = tuple(split_words(words.text) if plain else stems([words.text])[0])
        return self.terms[words]

    def count(self, doc: Doc, words: Words) -> float:
        """The weighted number of places."""
        place = (doc.key, words)
        if place not in self.counts:
            self.counts[place] = sum(WEIGHTS[column] * self.starts(doc, column, words) for column in columns_of(words))
        return self.counts[place]

    def score(self, doc: Doc, words: Iterable[Words]) -> float:
        """Okapi bm25 for each index, negated: smaller is better."""
        total = 0.0
        for columns, mean in zip(INDEXES, self.mean_lengths, strict=True):
            length = sum(len(doc.columns[column]) for column in columns)
            score = 0.0
            for each in words:
                if columns_of(each)[0] in columns:
                    frequency = self.count(doc, each)
                    score += self.idf(each) * frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * length / mean))
            total -= score
        return total

    def idf(self, words: Words) -> float:
        if words not in self.hits:
            self.hits[words] = sum(self.count(doc, words) > 0 for doc in self.docs)
        hits = self.hits[words]
        idf = math.log((len(self.docs) - hits + 0.5) / (hits + 0.5))
        return idf if idf > 0 else 1e-6


def columns_of(words: Words) -> tuple[str, ...]:
    return ("title", "abstract") if words.field == "text" else (words.field,)


def positive(node: Node | None) -> Iterable[Words]:
    if isinstance(node, And | Or):
        for part in node.parts:
            yield from positive(part)
    elif isinstance(node, Words) and node.field != "summary":
        yield node


def fact_holds(doc: Doc, fact: Fact) -> bool:
    record, value = doc.record, fact.value
    if fact.field == "cat":
        wanted = value.lower().removesuffix(".*")
        names = [name.lower() for name in record.categories or ()]
        deep = value.endswith(".*") or "." not in value
        return any(name == wanted or (deep and name.startswith(wanted + ".")) for name in names)
    if fact.field in ("date", "updated"):
        low, _, high = value.partition("..")
        day = day_of(record.published if fact.field == "date" else record.updated)
        first = int((low + "-01-01")[:10].replace("-", ""))
        high = high or low
        last = int((high + {4: "-12-31", 7: "-31"}.get(len(high), "")).replace("-", ""))
        return day is not None and first <= day <= last
    if fact.field == "version":
        return {">": int.__gt__, "<": int.__lt__}[value[0]](record.version or 0, int(value[1:]))
    if (fact.field, value) == ("is", "new"):
        return (record.version or 0) < 2
    raise NotImplementedError(f"{fact.field}:{value}")
