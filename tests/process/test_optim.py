"""AdamW sample by sample equals torch's, also when samples rest; frozen networks get their flags back."""

import pytest
import torch
from torch import nn

from diffolio.process.optim import AdamW, frozen


def test_equals_torch():
    x = torch.randn(3, 5, dtype=torch.float64)
    theirs = x.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([theirs], lr=1e-2)
    ours, mine = x.clone(), AdamW(x, 1e-2)
    for _ in range(12):
        optimizer.zero_grad()
        (theirs**4 - theirs).sum().backward()
        optimizer.step()
        ours = mine.step(torch.arange(3), ours, 4 * ours**3 - 1)
    torch.testing.assert_close(ours, theirs.detach())


def test_a_resting_sample_keeps_its_own_count():
    x = torch.randn(2, 4, dtype=torch.float64)
    together, both = x.clone(), AdamW(x, 1e-2)
    alone, one = x[1:].clone(), AdamW(x[1:], 1e-2)
    for round_ in range(6):
        index = torch.tensor([0, 1]) if round_ % 2 else torch.tensor([0])
        together[index] = both.step(index, together[index], together[index].cos())
        if round_ % 2:
            alone = one.step(torch.tensor([0]), alone, alone.cos())
    torch.testing.assert_close(together[1:], alone)


def test_frozen_gives_flags_back_after_an_exception():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].weight.requires_grad_(False)
    before = [p.requires_grad for p in net.parameters()]

    def fail() -> None:
        with frozen(net):
            assert not any(p.requires_grad for p in net.parameters())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert [p.requires_grad for p in net.parameters()] == before == [False, True, True, True]
