"""The arithmetic behind :mod:`diffolio.papers.features`: counting words, weighing them, finding the strongest directions.

Each step reads and writes files of one folder, so that memory does not grow with the library.
"""

from __future__ import annotations

import os
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

MAX_TERMS, BACKGROUND, SAMPLE = 50_000, 5_000, 40_000
SHARE = 0.25  # words in more papers than this say nothing of any one of them
CHUNK = 2_000

_URL = re.compile(r"(?:https?://|www\.)\S+")
_WORD = re.compile(r"[^\W_]{2,}")


def words_of(text: str) -> list[str]:
    """Lower-case words of two letters or more, without accents; addresses are left out."""
    text = text.lower()
    if "http" in text or "www." in text:
        text = _URL.sub(" ", text)
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return _WORD.findall(text)


def count(room: Path, texts: Iterable[tuple[int, str]]) -> None:
    """First pass over (key, text): ``keys``, checksums, how often each word occurs in each paper, the chosen ``terms`` and ``idf``."""
    import numpy as np

    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__
    frequency = np.zeros(0, np.int64)
    keys, widths, sums = array("q"), array("q"), array("L")
    with (room / "raw-words").open("wb") as words, (room / "raw-counts").open("wb") as counts:
        for piece in _pieces(texts):
            lengths, flat = [], array("q")
            for key, text in piece:
                found = words_of(text)
                keys.append(key)
                sums.append(crc32(text.encode("utf-8", "surrogatepass")))
                lengths.append(len(found))
                flat.extend(map(number.__getitem__, found))
            paper = np.repeat(np.arange(len(piece), dtype=np.int64), lengths)
            pairs, times = np.unique((paper << 32) | np.frombuffer(flat, np.int64), return_counts=True)
            word = pairs & 0xFFFFFFFF
            widths.extend(np.bincount(pairs >> 32, minlength=len(piece)).tolist())
            frequency = np.pad(frequency, (0, len(number) - len(frequency)))
            frequency += np.bincount(word, minlength=len(number))
            words.write(word.astype(np.uint32).tobytes())
            counts.write(np.minimum(times, 65_535).astype(np.uint16).tobytes())
    _choose(room, list(number), frequency, len(keys))
    np.save(room / "keys.npy", np.array(keys, np.int64))
    np.save(room / "sums.npy", np.array(sums, np.uint32))
    np.save(room / "raw-widths.npy", np.array(widths, np.int64))


def _pieces(texts: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    source = iter(texts)
    while piece := list(islice(source, CHUNK)):
        yield piece


def _choose(room: Path, names: list[str], frequency: np.ndarray, papers: int) -> None:
    """The most frequent 50,000 words that are neither in too many papers nor, in a library of some size, in one only."""
    import numpy as np

    least, most = (2, SHARE * papers) if papers >= 100 else (1, papers)
    fit = [i for i in np.flatnonzero((frequency >= least) & (frequency <= most)).tolist() if not names[i].isdigit()]
    fit.sort(key=lambda i: (-int(frequency[i]), names[i]))
    chosen = np.array(sorted(fit[:MAX_TERMS], key=names.__getitem__), np.int64)
    column = np.full(len(names), -1, np.int32)
    column[chosen] = np.arange(len(chosen), dtype=np.int32)
    np.save(room / "raw-column.npy", column)
    np.save(room / "raw-total.npy", frequency[chosen].sum())
    np.save(room / "idf.npy", np.log((1 + papers) / (0.5 + frequency[chosen])).astype(np.float32))
    (room / "terms.txt").write_text("\n".join(names[i] for i in chosen.tolist()), encoding="utf-8")


def weigh(room: Path) -> None:
    """Second pass: the matrix as ``data``, ``indices``, ``indptr``, and which rows are the ``background``."""
    import numpy as np

    column, idf, widths = (np.load(room / f"{name}.npy") for name in ("raw-column", "idf", "raw-widths"))
    papers, total = len(widths), int(np.load(room / "raw-total.npy"))
    index = np.int32 if total < 2**31 - 1 else np.int64
    data = _create(room / "data.npy", np.float32, (total,))
    indices = _create(room / "indices.npy", index, (total,))
    ends, at = np.zeros(papers + 1, np.int64), 0
    with (room / "raw-words").open("rb") as words, (room / "raw-counts").open("rb") as counts:
        for start in range(0, papers, CHUNK):
            width = widths[start : start + CHUNK]
            size = int(width.sum())
            columns = column[np.frombuffer(words.read(4 * size), np.uint32)]
            times = np.frombuffer(counts.read(2 * size), np.uint16)
            row, columns, weight = _rows(np.repeat(np.arange(len(width)), width), columns, times, idf)
            ends[start + 1 : start + 1 + len(width)] = at + np.cumsum(np.bincount(row, minlength=len(width)))
            data[at : at + len(row)] = weight
            indices[at : at + len(row)] = columns
            at += len(row)
    np.save(room / "indptr.npy", ends.astype(index))
    np.save(room / "background.npy", np.sort(np.random.default_rng(0).permutation(papers)[:BACKGROUND]))


def _rows(row: np.ndarray, columns: np.ndarray, times: np.ndarray, idf: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Known words of papers 0.. as (row, column, weight), sorted, each row of length 1."""
    import numpy as np

    known = columns >= 0
    row, columns, times = row[known], columns[known], times[known]
    order = np.lexsort((columns, row))
    row, columns = row[order], columns[order]
    weight = (1 + np.log(times[order])) * idf[columns]
    return row, columns, weight / np.sqrt(np.bincount(row, weight**2))[row]


def encode(texts: list[str], terms: list[str], idf: np.ndarray) -> csr_matrix:
    """The rows of new papers under words and idf that stay as they are: (texts, terms) float32."""
    import numpy as np
    from scipy.sparse import csr_matrix

    column = {term: i for i, term in enumerate(terms)}
    counts = [Counter(column.get(word, -1) for word in words_of(text)) for text in texts]
    row = np.repeat(np.arange(len(texts)), [len(each) for each in counts])
    columns = np.array([c for each in counts for c in each], np.int64)
    times = np.array([t for each in counts for t in each.values()], np.float64)
    row, columns, weight = _rows(row, columns, times, idf)
    ends = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(texts)))])
    return csr_matrix((weight.astype(np.float32), columns, ends), shape=(len(texts), len(terms)))


def directions(room: Path, matrix: csr_matrix, dimensions: int) -> None:
    """The leading right singular vectors as ``basis``, and each paper's unit coordinates along them as ``meaning``.

    Subspace iteration on at most 40,000 evenly spread papers; deterministic: a fixed start, signs by the largest entry.
    """
    import numpy as np
    from scipy.linalg import eigh

    papers, words = matrix.shape
    wanted = max(0, min(dimensions, papers, words))
    step = -(-papers // SAMPLE)
    sample = matrix[::step] if step > 1 else matrix
    basis = np.random.default_rng(0).standard_normal((words, min(wanted + 24, words))).astype(np.float32)
    if wanted:
        for _ in range(3):
            basis = sample.T @ (sample @ _orthonormal(basis))
        basis = _orthonormal(basis)
        seen = sample @ basis
        basis = basis @ eigh(seen.T @ seen)[1][:, ::-1][:, :wanted].astype(np.float32)
        basis *= np.sign(basis[np.abs(basis).argmax(0), np.arange(wanted)])
    basis = basis[:, :wanted].astype(np.float16)
    np.save(room / "basis.npy", basis)
    meaning = _create(room / "meaning.npy", np.float16, (papers, wanted))
    for start in range(0, papers, 8192):
        meaning[start : start + 8192] = project(matrix[start : start + 8192], basis)


def project(matrix: csr_matrix, basis: np.ndarray) -> np.ndarray:
    """Unit coordinates (n, d) float16; zero for a paper without words."""
    import numpy as np

    place = matrix @ basis.astype(np.float32)
    length = np.linalg.norm(place, axis=1, keepdims=True)
    return (place / np.where(length > 0, length, 1)).astype(np.float16)


def _orthonormal(basis: np.ndarray) -> np.ndarray:
    """The same span with orthonormal columns. By the Gram matrix: a fifth of the memory of a QR decomposition."""
    import numpy as np
    from scipy.linalg import eigh

    wide = (part.astype(np.float64) for part in np.array_split(basis, 16))
    values, vectors = eigh(sum(part.T @ part for part in wide))
    return basis @ (vectors / np.sqrt(np.maximum(values, values[-1] * 1e-12))).astype(np.float32)


def _create(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """A writable array on disk; an ordinary one is saved where there is nothing to map."""
    import numpy as np

    if 0 in shape:
        np.save(path, np.zeros(shape, dtype))
        return np.zeros(shape, dtype)
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def clean(room: Path) -> None:
    """Remove what only the build needed."""
    for scratch in room.glob("raw-*"):
        os.unlink(scratch)
