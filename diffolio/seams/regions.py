"""Rectified cross-attention: words that belong to a region are attended to inside of it only.

FreestyleNet (Xue et al., 2023, arXiv:2303.14412): before the softmax, the logits of a class's tokens are set to the lowest value outside
of the class's region; tokens of no class are attended to from everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from diffolio.errors import BadInput, Unsupported

if TYPE_CHECKING:
    from diffolio.seams import Seams, Site


@contextmanager
def rectified(seams: Seams, labels: Tensor, tokens: Tensor, row: str = "cond") -> Iterator[None]:
    """Cross-attention inside follows a layout, in the ``row`` of that name; other rows are left alone.

    ``labels`` (B, 1, H, W): class ids / 255. ``tokens`` (B, L): the class of each text token, -1 for those of none.
    """

    def mask(site: Site, logits: Tensor) -> Tensor:
        part = site.row(row)
        allowed = allowed_tokens(labels, tokens, grid_of(site)).to(logits.device)
        if len(allowed) not in (1, site.samples) or allowed.shape[-1] != logits.shape[-1]:
            raise BadInput(
                f"{len(allowed)} layouts of {allowed.shape[-1]} tokens for {site.samples} samples of {logits.shape[-1]} tokens at "
                f"{site.path}: give a layout for each, and add no tokens to the text"
            )
        masked = logits[part].masked_fill(~allowed[:, None], torch.finfo(logits.dtype).min)
        return masked if len(masked) == len(logits) else torch.cat([logits[: part.start], masked, logits[part.stop :]])

    with seams.attention(logits=mask, where=is_cross, name="rectified attention"):
        yield


def is_cross(site: Site) -> bool:
    return site.kind == "cross"


def grid_of(site: Site) -> tuple[int, int]:
    """(h, w) of a site's queries; Unsupported where they are none."""
    if site.grid is None or len(site.grid) != 2:
        raise Unsupported(f"the queries of {site.path} are no grid of a picture: a layout needs one; merge no tokens")
    return site.grid  # type: ignore[return-value]


def allowed_tokens(labels: Tensor, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which tokens each cell may attend to: bool (B, h * w, L). Label maps are resized to the nearest."""
    ids = (F.interpolate(labels.float(), grid, mode="nearest") * 255).round().long().flatten(1)
    return (tokens[:, None, :] < 0) | (tokens[:, None, :] == ids[:, :, None])
