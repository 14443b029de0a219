"""How visible a border is: one where nothing happens, a hard cut, and what has no border."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.metrics.seam import seam, seam_ratio


def pictures():
    """Noise of one strength everywhere, and the same with a step of 0.5 at the border."""
    noise = 0.1 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 16:48, 16:48] = True
    return torch.cat([noise, noise + 0.5 * mask[:, None]]), mask.expand(2, -1, -1)


def test_difference_and_ratio_are_of_the_same_two_means():
    images, mask = pictures()
    ratio, difference = seam_ratio(images, mask), seam(images, mask)
    assert float(ratio[0]) == pytest.approx(1, abs=0.1) and float(difference[0]) == pytest.approx(0, abs=5e-3)
    assert float(ratio[1]) > 10 and float(difference[1]) == pytest.approx(0.5, abs=0.05)


def test_without_a_border_there_is_nothing_to_see():
    images, mask = pictures()
    with pytest.raises(BadInput, match="no border"):
        seam_ratio(images, mask & False)
