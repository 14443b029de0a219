"""The query language: text -> expression tree. Nothing of what a user types reaches the database unread.

    token merging            both words, stemmed, any order
    "token merging"          the phrase; so is text-to-image
    -gan, NOT gan            without        a OR b, ( ... )    alternatives, groups; AND binds tighter than OR
    distil*                  words that begin so
    title: abstract: author: comment: summary:   in one field;  author:"gao, yihuai" takes the parts in any order
    cat:cs.CV cat:cs.*  id:2403.12963  date:2024-03-15..2024-03-20  since:7d  updated:2024  listed:2025-03-31  in:SERIES
    has:code  is:new  version:>1  runnable:yes  family:resolution  claim:holds  tag:NAME  note:WORD  like:yes  read:no
    sort:relevance|newest|oldest|listed|likes    all: ranks every match, not only the newest 20,000

Every string is either understood or refused with a position. What has an obvious meaning is given it: an open quote or
parenthesis closes itself, signs without letters are left out.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import NoReturn

from diffolio.errors import BadInput
from diffolio.papers.identifiers import key_of, parse_id
from diffolio.papers.merge import whole
from diffolio.papers.nodes import And, Fact, Id, Node, Not, Or, QueryError, SameAuthor, Words
from diffolio.papers.stemming import split_words, stems

LONGEST, DEEPEST, MOST = 4000, 40, 250  # characters, nested groups, terms
TEXT_FIELDS = ("title", "abstract", "author", "comment", "summary")
FACT_FIELDS = (
    "cat", "date", "since", "updated", "listed", "in", "has", "is", "version", "runnable", "family", "claim", "tag", "note",
    "like", "read",
)  # fmt: skip
FIELDS = (*TEXT_FIELDS, *FACT_FIELDS, "id", "sort", "all")
SORTS = ("relevance", "newest", "oldest", "listed", "likes")
ALIASES = {
    "ti": "title", "abs": "abstract", "au": "author", "co": "comment", "authors": "author", "comments": "comment",
    "category": "cat", "categories": "cat", "sorted": "sort", "tags": "tag", "series": "in",
}  # fmt: skip

_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
_TOKEN = re.compile(r'\s*(?:(?P<open>\()|(?P<close>\))|"(?P<phrase>[^"]*)"?|(?P<word>[^\s()"]+))')
_FIELD = re.compile(r"([A-Za-z]+):")
_ENDINGS = ("e", "es", "ed", "er", "ing", "ion", "ation", "able", "al", "ive", "ity", "ment", "ly")


@dataclass(frozen=True)
class Query:
    """``root`` is None where nothing restricts the papers; ``notes`` tell what was left out."""

    root: Node | None
    sort: str = "relevance"
    all: bool = False
    notes: tuple[str, ...] = ()


@dataclass
class _Token:
    kind: str  # open, close, phrase, word, field, minus, AND, OR, NOT
    text: str
    position: int


def parse(text: str) -> Query:
    """Read a query. Raises QueryError with the position of what cannot be understood."""
    text = whole(text.replace("\0", " ")).translate({0x201C: '"', 0x201D: '"', 0x201E: '"'})
    if len(text) > LONGEST:
        raise QueryError(f"the query has {len(text)} characters, at most {LONGEST} are read", LONGEST + 1)
    parser = _Parser(_tokens(text), len(text) + 1)
    root = parser.alternatives(0)
    while parser.tokens:
        parser.notes.append(f"left out a ) that nothing opened (position {parser.tokens.pop(0).position})")
        rest = parser.alternatives(0)
        root = _join(And, [part for part in (root, rest) if part])
    if root is None and text.strip() and not parser.directed:
        raise QueryError("there is no word to search for", 1)
    return Query(root, parser.sort, parser.all, tuple(parser.notes))


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while match := _TOKEN.match(text, at):
        kind = match.lastgroup or ""
        start, at = match.start(kind), match.end()
        if kind != "word":
            found.append(_Token(kind, match[kind], match.start(kind) + (kind != "phrase")))
            continue
        word = match[kind]
        at = _word(found, text, word, start)
    return found


def _word(found: list[_Token], text: str, word: str, start: int) -> int:
    """Append what one word without blanks stands for; where to go on reading."""
    end, position = start + len(word), start + 1
    if word in ("AND", "OR", "NOT"):
        found.append(_Token(word, word, position))
        return end
    bare = word.lstrip("-\u2212")
    if len(bare) < len(word) and (bare or text[end : end + 1] in ('"', "(")):
        found.append(_Token("minus", "-", position))
        if not bare:
            return end
        start, position, word = end - len(bare), end - len(bare) + 1, bare
    name = _FIELD.match(word)
    if not name or "://" in word[: name.end() + 2]:
        found.append(_Token("word", word, position))
        return end
    field_name = ALIASES.get(name[1].lower(), name[1].lower())
    if field_name in FIELDS:
        found.append(_Token("field", field_name, position))
        return start + name.end()
    near = difflib.get_close_matches(field_name, FIELDS, n=1, cutoff=0.8)
    if near and name.end() < len(word):
        raise QueryError(f"unknown field {name[1]!r}. Did you mean {near[0]}:? To search for the words, quote them", position)
    found.append(_Token("word", word, position))
    return end


class _Parser:
    """Recursive descent over the tokens; every method consumes what it returns and gives None for what restricts nothing."""

    def __init__(self, tokens: list[_Token], end: int) -> None:
        self.tokens, self.end = tokens, end
        self.sort, self.all, self.directed = "relevance", False, False
        self.notes: list[str] = []
        self.terms = 0

    def next_kind(self) -> str:
        return self.tokens[0].kind if self.tokens else ""

    def alternatives(self, depth: int) -> Node | None:
        parts = [self.conjunction(depth)]
        while self.next_kind() == "OR":
            operator = self.tokens.pop(0)
            if parts[-1] is None:
                self.dangling(operator, "left")
            parts.append(self.conjunction(depth))
            if parts[-1] is None:
                self.dangling(operator, "right")
        return _join(Or, [part for part in parts if part])

    def conjunction(self, depth: int) -> Node | None:
        parts: list[Node] = []
        while (kind := self.next_kind()) not in ("", "close", "OR"):
            if kind == "AND":
                operator = self.tokens.pop(0)
                if not parts:
                    self.dangling(operator, "left")
                if self.next_kind() in ("", "close", "OR", "AND"):
                    self.dangling(operator, "right")
            elif part := self.unary(depth):
                parts.append(part)
        return _join(And, parts)

    def unary(self, depth: int) -> Node | None:
        token = self.tokens.pop(0)
        negative, operator = False, token
        while token.kind in ("minus", "NOT"):
            negative = not negative
            if self.next_kind() in ("", "close", "AND", "OR"):
                self.dangling(token, "right")
            operator, token = token, self.tokens.pop(0)
        if negative and token.kind == "field" and token.text in ("sort", "all"):
            raise QueryError(f"{token.text}: cannot be excluded", operator.position)
        part = self.atom(token, depth)
        return Not(part) if part and negative else part

    def atom(self, token: _Token, depth: int) -> Node | None:
        self.terms += 1
        if self.terms > MOST:
            raise QueryError(f"the query has more than {MOST} terms", token.position)
        if token.kind == "open":
            return self.group(token, depth)
        if token.kind == "field":
            return self.field(token, depth)
        if token.kind == "word" and (found := _id(token.text)):
            return found
        return self.words("text", token)

    def group(self, token: _Token, depth: int) -> Node | None:
        if depth >= DEEPEST:
            raise QueryError(f"groups are nested more than {DEEPEST} deep", token.position)
        part = self.alternatives(depth + 1)
        if self.tokens:
            self.tokens.pop(0)  # the closing parenthesis; at the end of the text it closes itself
        return part

    def field(self, token: _Token, depth: int) -> Node | None:
        name = token.text
        if name == "all":
            self.all = self.directed = True
            return None
        if self.next_kind() == "open" and name in TEXT_FIELDS:
            group = self.group(self.tokens.pop(0), depth)
            return None if group is None else _within(group, name, token.position)
        if self.next_kind() not in ("word", "phrase", "field"):
            raise QueryError(f"{name}: needs a value", token.position)
        value = self.tokens.pop(0)
        if value.kind == "field":  # as in title:date
            value.text += ":" if self.next_kind() != "word" else ":" + self.tokens.pop(0).text
        if name in TEXT_FIELDS:
            return self.words(name, value)
        if name == "id":
            try:
                return Id(key_of(parse_id(value.text).base))
            except BadInput as error:
                raise QueryError(str(error), value.position) from None
        if name == "sort":
            if value.text.lower() not in SORTS:
                raise QueryError(f"cannot sort by {value.text!r}, only by {', '.join(SORTS)}", value.position)
            self.sort, self.directed = value.text.lower(), True
            return None
        if not value.text.strip():
            raise QueryError(f"{name}: needs a value", value.position)
        return Fact(name, value.text.strip(), value.position)

    def words(self, name: str, token: _Token) -> Node | None:
        text, prefix = token.text, token.kind == "word" and token.text.endswith("*")
        if not any(c.isalnum() for c in text):
            self.notes.append(f"left out {text!r}, which has no letter or digit (position {token.position})")
            return None
        if name == "author":
            return _author(text, prefix)
        if name == "summary":
            return Words(name, text.rstrip("*"))
        found: Node = _prefixed(name, text) if prefix else Words(name, text)
        return Or((found, Words("summary", text.rstrip("*")))) if name == "text" and _CJK.search(text) else found

    def dangling(self, token: _Token, side: str) -> NoReturn:
        where = "before" if side == "left" else "after"
        raise QueryError(f'{token.text} has nothing {where} it; to search for the word, quote it: "{token.text}"', token.position)


def _join(kind: type[And] | type[Or], parts: list[Node]) -> Node | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    flat: list[Node] = []
    for part in parts:
        flat += part.parts if isinstance(part, kind) else [part]
    return kind(tuple(flat))


def _id(text: str) -> Node | None:
    """The paper that a word names: an id, or the address of a paper."""
    if not re.search(r"\d{4}", text):
        return None
    try:
        found = Id(key_of(parse_id(text).base))
    except BadInput:
        return None
    return found if "/" in text or ":" in text else Or((found, Words("text", text)))


def _within(node: Node, name: str, position: int) -> Node:
    """The words of a group, each in the field that stands before the group."""
    if isinstance(node, And | Or):
        return type(node)(tuple(_within(part, name, position) for part in node.parts))
    if isinstance(node, Not):
        return Not(_within(node.part, name, position))
    if isinstance(node, Words) and node.field == "text":
        return _author(node.text, node.prefix) if name == "author" else Words(name, node.text, node.prefix)
    if isinstance(node, Words) and node.field == "summary":
        return node
    raise QueryError(f"a group after {name}: holds words only", position)


def _author(text: str, prefix: bool) -> Node:
    parts = split_words(text) or [text]  # signs that only the index knows as letters
    found = [*(Words("author", part) for part in parts[:-1]), Words("author", parts[-1], prefix)]
    if len(parts) == 1:
        return found[0]
    return And((*found, SameAuthor(tuple(parts[:-1] if prefix else parts), (parts[-1],) if prefix else ())))


def _prefixed(name: str, text: str) -> Node:
    """Words that begin so. The index holds stems, and ``optimiz`` begins no stem of optimizer: that is ``optim``.

    So the words that ``text`` makes with a common ending are looked for as well, where their stem is a shorter one.
    """
    base = text.rstrip("*")
    if len(split_words(base)) > 1:
        return Words(name, base, True)
    (own, *_), *others = stems([base, *(base + ending for ending in _ENDINGS)])
    shorter: dict[str, str] = {}
    for ending, terms in zip(_ENDINGS, others, strict=True):
        if terms and not terms[0].startswith(own):
            shorter.setdefault(terms[0], base + ending)
    whole_words = [Words(name, word) for word in shorter.values()]
    return Or((Words(name, base, True), *whole_words)) if whole_words else Words(name, base, True)
