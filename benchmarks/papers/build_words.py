"""Count the words of clean abstracts: the list that ``diffolio.papers.joins`` puts lost spaces back with.

python benchmarks/papers/build_words.py abstracts.jsonl... [--size 20000] [--out diffolio/papers/words.txt.gz]

Each line of a file is a JSON object with ``id`` and ``abstract`` or ``summary``: arXiv's metadata (CC0) or the output of
``diffolio papers export``. Papers held out for the benchmark (:func:`held_out`) and papers of the digests in
``DIFFOLIO_SEEDS`` are never counted. Only counts are written; the same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from common import SEEDS

from diffolio.papers.tokens import WORDS, words_of


def held_out(id: str) -> bool:
    """Every tenth paper is for testing: the one whose number ends in 7."""
    return id[-1] == "7"


def abstracts(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """(id, abstract with its line breaks) of every paper, each once."""
    seen = set()
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                text = row.get("abstract") or row.get("summary")
                if text and row["id"] not in seen:
                    seen.add(row["id"])
                    yield row["id"], text


def seed_ids() -> set[str]:
    """The papers of the digests that tests read: they may not teach what they test."""
    return {id for path in SEEDS.glob("*.txt") for id in re.findall(r"\d{4}\.\d{4,5}", path.read_text("utf-8", "replace"))}


def count(texts: Iterable[str], size: int) -> dict[str, int]:
    """The ``size`` words that stand in the most texts, each with how often it occurs."""
    occurs: Counter[str] = Counter()
    stands: Counter[str] = Counter()
    for text in texts:
        words = words_of(text)
        occurs.update(words)
        stands.update(set(words))
    kept = sorted(stands, key=lambda word: (-stands[word], word))[:size]
    return {word: occurs[word] for word in kept}


def write(counts: dict[str, int], path: Path) -> None:
    body = "".join(f"{word} {counts[word]}\n" for word in sorted(counts)).encode()
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream:
        stream.write(body)
    path.write_bytes(packed.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=20_000, help="how many words to keep")
    parser.add_argument("--out", type=Path, default=WORDS)
    args = parser.parse_args()
    skipped = seed_ids()
    texts = [text for id, text in abstracts(args.files) if not held_out(id) and id not in skipped]
    counts = count(texts, args.size)
    write(counts, args.out)
    print(f"{len(counts)} words, {sum(counts.values())} occurrences in {len(texts)} abstracts -> {args.out}")


if __name__ == "__main__":
    main()
