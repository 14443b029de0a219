"""Per-image scores of pictures (B, 3, H, W) in [0, 1] against references; each returns (B,)."""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from diffolio.errors import BadInput


def mse(images: Tensor, references: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error; with a bool ``mask`` (B, H, W), over the masked pixels only (NaN where there are none)."""
    _same(images, references)
    error = (images - references).square().mean(1)
    if mask is None:
        return error.mean((-2, -1))
    return (error * mask).sum((-2, -1)) / mask.sum((-2, -1))


def psnr(images: Tensor, references: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, at most 100."""
    return -10 * mse(images, references, mask).clamp_min(1e-10).log10()


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity with the usual 11-pixel Gaussian window."""
    _same(images, references)
    score = structural_similarity_index_measure(images, references, data_range=1.0, reduction="none")
    assert isinstance(score, Tensor)
    return score


def _same(images: Tensor, references: Tensor) -> None:
    if images.shape != references.shape:
        raise BadInput(
            f"pictures of shapes {tuple(images.shape)} and {tuple(references.shape)} cannot be compared: give equal shapes"
        )
