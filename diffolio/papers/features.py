"""What papers are about, as numbers: TF-IDF over single words, and the 256 strongest directions among them.

Row i is the paper with the i-th smallest key. A weight is (1 + ln count) * idf with idf = ln((1 + n) / (0.5 + papers that have
the word)), and rows have length 1. The directions are the leading right singular vectors of that matrix (latent semantic
analysis). Words, idf and directions stay fixed until the features are rebuilt: papers that arrive in between are added under
them, so that the score of a paper does not change. Everything lies in memory-mapped files beside the library, and is replaced
as a whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from diffolio.errors import LibraryError
from diffolio.papers import tfidf
from diffolio.papers.identifiers import base_of

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

    from diffolio.papers.store import Library

DIMENSIONS = 256
GROWTH = 0.2  # beyond this share of new papers the words are chosen anew
FORMAT = 1
A_DAY = 86_400.0  # seconds after which a build that did not end is taken for dead


@dataclass(frozen=True, eq=False)
class Features:
    """Memory-mapped arrays of one build. n papers, v words, d directions.

    ``keys`` (n,) int64 ascending; ``matrix`` (n, v) float32 with rows of length 1, or 0 for a paper without known words;
    ``terms`` the v words, sorted; ``idf`` (v,) float32; ``meaning`` (n, d) float16 with rows of length 1 or 0; ``basis``
    (v, d) float16; ``background`` the rows of up to 5,000 fixed papers drawn at random when the features were built;
    ``sums`` (n,) checksums of the texts; ``built`` the number of papers when the words were chosen; ``state`` of the library.
    """

    folder: Path
    keys: np.ndarray
    matrix: csr_matrix
    terms: list[str]
    idf: np.ndarray
    meaning: np.ndarray
    basis: np.ndarray
    background: np.ndarray
    sums: np.ndarray
    built: int
    state: list[int] | None

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, keys: Iterable[int]) -> np.ndarray:
        """The rows of these keys, -1 for a paper that is not among them."""
        import numpy as np

        wanted = np.fromiter(keys, np.int64)
        if not len(self):
            return np.full(len(wanted), -1)
        found = np.minimum(np.searchsorted(self.keys, wanted), len(self) - 1)
        return np.where(self.keys[found] == wanted, found, -1)

    def id(self, row: int) -> str:
        return base_of(int(self.keys[row]))

    def with_words(self) -> np.ndarray:
        """(n,) bool: which papers have any known word."""
        import numpy as np

        return np.diff(self.matrix.indptr) > 0

    def near(self, vector: np.ndarray) -> np.ndarray:
        """Products of every paper's meaning with ``vector`` (d,), by brute force in pieces that fit a cache: (n,) float32."""
        import numpy as np

        vector, scores = vector.astype(np.float32), np.empty(len(self), np.float32)
        for start in range(0, len(self), 8192):
            scores[start : start + 8192] = self.meaning[start : start + 8192].astype(np.float32) @ vector
        return scores


def build_features(library: Library, *, dimensions: int = DIMENSIONS) -> Features:
    """Read every paper of the library, choose the words and replace its features. Raises LibraryError when they cannot be
    written."""
    return build(folder_of(library), _texts(library), dimensions=dimensions, state=_state(library))


def features_of(library: Library) -> Features:
    """The features of every paper as it now is: as built, with what came or changed since; built first where there are none."""
    folder, state = folder_of(library), _state(library)
    features = load(folder)
    if features is not None and features.state == state:
        return features
    if features is None or len(library) > (1 + GROWTH) * features.built:
        return build_features(library)
    return update(features, _texts(library), state=state)


def folder_of(library: Library) -> Path:
    return library.path.with_name(library.path.name + ".features")


def _texts(library: Library) -> Iterator[tuple[int, str]]:
    return ((key, f"{title}\n{abstract}") for key, title, abstract in library.texts())


def _state(library: Library) -> list[int]:
    """Sums one of which moves when a text changes: papers, who said which of their fields of which version, undone repairs."""
    sums = (
        "SELECT (SELECT total(papers) FROM month), (SELECT total(undone) FROM repair), "
        "count(*), total(fields * (source + 2)), total(version) FROM fact"
    )
    return [int(value) for value in library.connection.execute(sums).fetchone()]


def build(
    folder: Path, texts: Iterable[tuple[int, str]], *, dimensions: int = DIMENSIONS, state: list[int] | None = None
) -> Features:
    """Features of (key, text) with ascending keys, under ``folder``; the previous ones stay until these are whole."""
    with _room(folder) as room:
        tfidf.count(room, texts)
        tfidf.weigh(room)
        tfidf.directions(room, _matrix(room), dimensions)
        tfidf.clean(room)
        _describe(room, built=len(_array(room, "keys")), state=state)
    return _loaded(folder)


def update(features: Features, texts: Iterable[tuple[int, str]], *, state: list[int] | None = None) -> Features:
    """The same features for the texts as they now are: words, idf, directions and background stay what they were.

    ``texts`` are all papers, with ascending keys; those that the features know and that are not among them stay.
    """
    import numpy as np
    from scipy.sparse import vstack

    known = dict(zip(features.keys.tolist(), features.sums.tolist(), strict=True))
    new = [(key, text) for key, text in texts if known.get(key) != crc32(text.encode("utf-8", "surrogatepass"))]
    with _room(features.folder.parent) as room:
        rows = tfidf.encode([text for _, text in new], features.terms, features.idf)
        fresh = np.array([key for key, _ in new], np.int64)
        kept = np.flatnonzero(~np.isin(features.keys, fresh))
        keys = np.concatenate([features.keys[kept], fresh])
        order = np.argsort(keys)
        matrix = vstack([features.matrix[kept], rows], format="csr", dtype=np.float32)[order]
        sums = np.array([crc32(text.encode("utf-8", "surrogatepass")) for _, text in new], np.uint32)
        arrays = {
            "keys": keys[order],
            "sums": np.concatenate([features.sums[kept], sums])[order],
            "data": matrix.data,
            "indices": matrix.indices,
            "indptr": matrix.indptr,
            "meaning": np.concatenate([features.meaning[kept], tfidf.project(rows, features.basis)])[order],
            "background": np.searchsorted(keys[order], features.keys[features.background]),
        }
        for name, array in arrays.items():
            np.save(room / f"{name}.npy", array)
        for name in ("terms.txt", "idf.npy", "basis.npy"):
            shutil.copyfile(features.folder / name, room / name)
        _describe(room, built=features.built, state=state)
    return _loaded(features.folder.parent)


def _describe(room: Path, **told: object) -> None:
    (room / "about.json").write_text(json.dumps({"format": FORMAT, **told}), encoding="utf-8")


@contextlib.contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """A new folder that becomes the current features at the end; on any error nothing of it is left."""
    room = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix="building-", dir=folder))
        yield room
        final = folder / f"built-{time.time_ns():x}-{os.getpid()}"
        room.rename(final)
        pointer = folder / f"current-{os.getpid()}"
        pointer.write_text(final.name, encoding="utf-8")
        os.replace(pointer, folder / "current")
    except OSError as error:
        if room is not None:
            shutil.rmtree(room, ignore_errors=True)
        raise LibraryError(f"cannot write the features of the library at {folder}: {error.strerror or error}") from error
    except BaseException:
        if room is not None:
            shutil.rmtree(room, ignore_errors=True)
        raise
    for old in folder.glob("bui*-*"):
        with contextlib.suppress(OSError):
            if old.name != final.name and (old.name.startswith("built-") or old.stat().st_mtime < time.time() - A_DAY):
                shutil.rmtree(old)


def load(folder: Path) -> Features | None:
    """The features last written under ``folder``; None where there are none that can be read."""
    for _ in range(3):  # another process may replace them between reading where they are and opening them
        with contextlib.suppress(OSError, ValueError, KeyError):
            return _open(folder / (folder / "current").read_text(encoding="utf-8"))
    return None


def _open(room: Path) -> Features:
    about = json.loads((room / "about.json").read_text(encoding="utf-8"))
    terms = (room / "terms.txt").read_text(encoding="utf-8").split("\n")
    names = ("keys", "idf", "meaning", "basis", "background", "sums")
    keys, idf, meaning, basis, background, sums = (_array(room, name) for name in names)
    matrix = _matrix(room)
    if about["format"] != FORMAT or matrix.shape != (len(meaning), len(idf)):
        raise ValueError(f"the features at {room} are of another format or damaged")
    terms = terms if len(idf) else []
    return Features(room, keys, matrix, terms, idf, meaning, basis, background, sums, about["built"], about["state"])


def _loaded(folder: Path) -> Features:
    features = load(folder)
    if features is None:
        raise LibraryError(f"the features just written at {folder} cannot be read: is another process removing them?")
    return features


def _array(room: Path, name: str) -> np.ndarray:
    import numpy as np

    small = (room / f"{name}.npy").stat().st_size < 4096  # an empty file cannot be mapped
    return np.asarray(np.load(room / f"{name}.npy", mmap_mode=None if small else "r"))


def _matrix(room: Path) -> csr_matrix:
    from scipy.sparse import csr_matrix

    parts = _array(room, "data"), _array(room, "indices"), _array(room, "indptr")
    matrix = csr_matrix(parts, shape=(len(parts[2]) - 1, len(_array(room, "idf"))), copy=False)
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    return matrix
