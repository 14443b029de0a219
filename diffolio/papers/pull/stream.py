"""Reading large XML one element at a time, in bounded memory, with nothing fetched and nothing expanded.

Documents of arXiv have no DOCTYPE; one that does is refused, so that neither entity bombs nor external entities can act.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, TypeVar
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser
from xml.parsers import expat

from diffolio.errors import BadInput

T = TypeVar("T")
CHUNK = 1 << 16
LARGEST = 8 << 20  # bytes of one element or token: a record of a thousand authors has 0.2 MB
DEEPEST = 64  # levels above the wanted elements
HEAD = 10_000  # elements kept from outside the wanted ones


class Elements:
    """The elements called one of ``names`` of a document, as small trees in document order, tags as ``{namespace}name``.

    ``head`` fills up while reading with what stands around them: local name -> [(attributes, text)]. Raises BadInput where
    the document is no XML, is cut off, has another root, or an element is larger than LARGEST.
    """

    def __init__(self, data: bytes | BinaryIO, names: tuple[str, ...], roots: tuple[str, ...]) -> None:
        self.head: dict[str, list[tuple[dict[str, str], str]]] = {}
        self._data, self._names, self._roots, self._kept = data, names, roots, 0

    def __iter__(self) -> Iterator[Element]:
        prolog = _Prolog(self._roots)
        builder = TreeBuilder()
        # The tree grows under an element of ours, which shows it while it grows, without a call for every element.
        document = builder.start("document", {})
        parser = XMLParser(target=builder)
        waiting = 0
        for chunk in _chunks(self._data):
            waiting += len(chunk)
            with _explained():
                prolog.feed(chunk)
                parser.feed(chunk)
            for element in self._complete(document):
                waiting = 0
                yield element
            if waiting > LARGEST:
                raise BadInput(f"{LARGEST >> 20} MB without a paper or inside one: this is no list of papers")
        with _explained(last=True):
            parser.close()
        yield from self._complete(document, last=True)

    def _complete(self, document: Element, last: bool = False) -> Iterator[Element]:
        """Take the wanted elements that are complete out of the tree; the last one of each level may still grow."""
        level, depth = document, 0
        while len(level):
            growing, depth = level[-1], depth + 1
            if depth > DEEPEST:
                raise BadInput(f"elements nested more than {DEEPEST} deep around the papers: this is no list of papers")
            wanted = local(growing) in self._names
            finished = level[:] if last and wanted else level[:-1]
            del level[: len(finished)]
            for element in finished:
                if local(element) in self._names:
                    yield element
                else:
                    yield from self._around(element)
            if wanted:
                break
            level = growing
        if last:
            self._close(document)

    def _around(self, element: Element) -> Iterator[Element]:
        """Wanted elements inside a finished one that is not wanted itself; the others go to the head."""
        open_ = [element]
        while open_:
            here = open_.pop()
            if local(here) in self._names:
                yield here
                continue
            self._keep(here)
            open_.extend(reversed(here))

    def _close(self, document: Element) -> None:
        """Whatever is left is not wanted: the path to the end of the document."""
        level = document
        while len(level):
            level = level[-1]
            self._keep(level)

    def _keep(self, element: Element) -> None:
        if self._kept < HEAD:
            told = " ".join((element.text or "").split())
            self.head.setdefault(local(element), []).append((dict(element.attrib), told))
            self._kept += 1

    def told(self, name: str) -> str | None:
        """The text of the first head element of this name, if it is there and not empty."""
        return next((text for _, text in self.head.get(name, ()) if text), None)


def readable(elements: Iterable[Element], read: Callable[[Element], T], skipped: list[str] | None) -> Iterator[T]:
    """What ``read`` makes of each element. One that it refuses is noted in ``skipped``, or raises where that is None."""
    for number, element in enumerate(elements, start=1):
        try:
            found = read(element)
        except BadInput as error:
            told = f"{local(element)} {number}: {error}"
            if skipped is None:
                raise BadInput(told) from error
            skipped.append(told)
        else:
            yield found


def local(element: Element) -> str:
    """The tag without its namespace."""
    return element.tag.rpartition("}")[2]


class _Prolog:
    """Watches a document up to its root: refuses a DOCTYPE and a root that is not among ``roots``."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots, self._done = roots, False
        self._parser = expat.ParserCreate(namespace_separator="}")
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._root

    def feed(self, chunk: bytes) -> None:
        if not self._done:
            self._parser.Parse(chunk, False)

    def _doctype(self, name: str, *_: object) -> None:
        if name.lower() == "html":
            raise BadInput("this is an HTML page, not XML")
        raise BadInput(f"the document has a DOCTYPE ({name}): documents of arXiv have none, refused")

    def _root(self, name: str, _: object) -> None:
        root = name.rpartition("}")[2]
        if root.lower() == "html":
            raise BadInput("this is an HTML page, not XML")
        if root not in self._roots:
            raise BadInput(f"the document is a <{root}>; expected <{'> or <'.join(self._roots)}>")
        self._done = True
        self._parser.StartElementHandler = None


@contextlib.contextmanager
def _explained(last: bool = False) -> Iterator[None]:
    try:
        yield
    except (expat.ExpatError, ParseError) as error:
        line, column = (error.lineno, error.offset) if isinstance(error, expat.ExpatError) else error.position
        what = "it is cut off" if last else expat.ErrorString(error.code)
        raise BadInput(f"not a whole XML document: {what} (line {line}, column {column + 1})") from error
    except (LookupError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"the XML declares an encoding that cannot be read: {error}") from error


def _chunks(data: bytes | BinaryIO) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield from (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))
        return
    while chunk := data.read(CHUNK):
        yield chunk


def root_of(head: bytes) -> tuple[str, str] | None:
    """Local name and namespace of the root element, from the first kilobytes of a document; None where this is no XML."""
    seen: list[tuple[str, str]] = []
    parser = expat.ParserCreate(namespace_separator="}")

    def start(name: str, _: object) -> None:
        if not seen:
            space, _, root = name.rpartition("}")
            seen.append((root, space))

    parser.StartElementHandler = start
    # What comes after the root does not matter here, be it wrong or cut off.
    with contextlib.suppress(expat.ExpatError, LookupError, ValueError):
        parser.Parse(head, False)
    return seen[0] if seen else None
