"""A vector more in the time embedding of a running network: metadata, a layer's index, a second timestep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor

from diffolio.errors import BadInput, Unsupported
from diffolio.seams.sites import Site

if TYPE_CHECKING:
    from diffolio.seams import Seams


@contextmanager
def time_vector(seams: Seams, vector: Tensor | Callable[[], Tensor], rows: tuple[str, ...] | None = None) -> Iterator[None]:
    """Add ``vector`` (B, D), or one (1, D) for all, to what ``time_embedding`` gives, in every row or in the named ``rows``.

    A function is called at every forward, so that each has its own graph when gradients are asked for. Several nest; each is
    added. The network is as it was after the block.
    """
    embedding = getattr(seams.state.denoiser, "time_embedding", None)
    if embedding is None:
        raise Unsupported(f"{type(seams.state.denoiser).__name__} has no time_embedding to add a vector to: use a UNet")
    width = embedding.linear_2.out_features

    def add(site: Site, x: Tensor) -> Tensor:
        given = (vector() if callable(vector) else vector).to(x)
        if given.dim() != 2 or given.shape[1] != width or len(given) not in (1, site.samples):
            raise BadInput(
                f"a time vector of shape {tuple(given.shape)}: give ({site.samples}, {width}), or (1, {width}) for all"
            )
        chosen = x.new_zeros(len(site.rows), 1, 1)
        for i, row in enumerate(site.rows):
            chosen[i] = float(rows is None or row in rows)
        return x + (chosen * given).expand(len(site.rows), site.samples, width).flatten(0, 1)

    with seams.features(add, "time_embedding"):
        yield
