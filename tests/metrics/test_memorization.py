"""Copy scores against an independent reference, and what they must and must not notice."""

import numpy as np
import pytest
import torch

from diffolio.errors import BadInput
from diffolio.metrics.memorization import layout_copy


def pictures(n=4, seed=0):
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def reference(a, b, mask, cells=16):
    """The same score written with loops in numpy."""
    k = a.shape[-1] // cells

    def pool(x):
        return x.reshape(cells, k, cells, k).mean((1, 3))

    w = pool(mask.numpy().astype(np.float64))
    x, y = [], []
    for c in range(3):
        for out, picture in ((x, a), (y, b)):
            p = pool(picture[c].numpy().astype(np.float64))
            out.append((p - (p * w).sum() / w.sum()) * np.sqrt(w))
    x, y = np.concatenate(x).ravel(), np.concatenate(y).ravel()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def test_against_the_reference():
    a, b = pictures(3, 1), pictures(3, 2)
    mask = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(3)) > 0.4
    found = layout_copy(a, b, mask)
    for i in range(3):
        assert found[i].item() == pytest.approx(reference(a[i], b[i], mask[i]), abs=1e-5)


def test_a_copy_is_one_whatever_its_brightness_and_noise():
    a = pictures()
    assert torch.allclose(layout_copy(a, a), torch.ones(4), atol=1e-6)
    assert torch.allclose(layout_copy(a * 0.5 + 0.2, a), torch.ones(4), atol=1e-5)
    assert torch.allclose(layout_copy(1 - a, a), -torch.ones(4), atol=1e-5)
    noisy = torch.nn.functional.interpolate(torch.rand(4, 3, 8, 8), (64, 64))
    assert (layout_copy(noisy + 0.05 * torch.randn(4, 3, 64, 64), noisy) > 0.98).all()


def test_only_what_the_mask_covers_counts():
    a, b = pictures(2, 1), pictures(2, 2)
    mask = torch.zeros(2, 64, 64, dtype=torch.bool)
    mask[:, :, :32] = True
    b[:, :, :, :32] = a[:, :, :, :32]
    assert torch.allclose(layout_copy(a, b, mask), torch.ones(2), atol=1e-6)
    assert (layout_copy(a, b, ~mask).abs() < 0.3).all()


def test_no_contrast_is_no_copy():
    assert torch.equal(layout_copy(torch.full((1, 3, 64, 64), 0.5), pictures(1)), torch.zeros(1))


def test_bad_input():
    with pytest.raises(BadInput, match="equal shapes"):
        layout_copy(pictures(2), pictures(3))
    with pytest.raises(BadInput, match="covers nothing"):
        layout_copy(pictures(1), pictures(1), torch.zeros(1, 64, 64, dtype=torch.bool))
