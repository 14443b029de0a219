"""Sequential expansion: what is kept only shrinks, ends at the true mask, and is plain blending at its zeros."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.process.compositing import dilate
from diffolio.process.expansion import Expansion, cells


def blob(size=64):
    mask = torch.zeros(2, size, size, dtype=torch.bool)
    mask[0, 20:34, 24:40], mask[1, 30:50, 10:14] = True, True
    return mask


@pytest.mark.parametrize("factor", [2, 8])
@pytest.mark.parametrize("steps", [1, 4, 25])
def test_what_is_kept_never_grows_and_the_true_mask_is_never_given_up(factor, steps):
    mask, size = blob(), (64 // factor, 64 // factor)
    true = cells(mask, size)
    before = torch.ones(2, 1, *size)
    for done in range(steps + 1):
        kept = Expansion(8).kept(mask, done, steps, size)
        assert bool((kept <= before).all()) and bool((kept[true] == 1).all())
        before = kept
    assert torch.equal(before, true.float()), "the ring runs free at the end"


def test_the_schedule_in_numbers():
    schedule, mask = Expansion(8), blob()
    assert [schedule.grown(k, 10) for k in range(8)] == [8, 7, 5, 4, 3, 1, 0, 0]
    assert torch.equal(schedule.kept(mask, 0, 10, (64, 64)) == 1, dilate(mask, 8)[:, None])
    soft = schedule.kept(mask, 6, 10, (64, 64))
    assert torch.equal(soft == 1, mask[:, None]) and torch.equal(soft > 0, dilate(mask, 1)[:, None])
    assert set(soft.unique().tolist()) == {0.0, 0.5, 1.0}
    two = Expansion(0, soften=2).kept(mask, 0, 10, (64, 64))
    assert torch.allclose(two.unique(), torch.tensor([0.0, 1 / 3, 2 / 3, 1.0]))


def test_zeros_are_plain_blending_at_every_step():
    mask = blob()
    for done in range(11):
        kept = Expansion(0, soften=0).kept(mask, done, 10, (32, 32))
        assert torch.equal(kept, cells(mask, (32, 32)).float())


def test_what_is_refused():
    for knobs in (
        {"radius": -1},
        {"radius": 1, "until": 0.9, "free": 0.2},
        {"radius": 1, "soften": -1},
        {"radius": 1, "until": 1.5},
    ):
        with pytest.raises(BadInput, match="give a radius"):
            Expansion(**knobs)
