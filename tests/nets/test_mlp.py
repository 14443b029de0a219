"""The score network for points."""

import torch

from diffolio.nets.mlp import ScoreMLP


def test_time_may_be_a_number_a_scalar_or_one_per_point():
    torch.manual_seed(0)
    model = ScoreMLP(3, width=16)
    x = torch.randn(5, 3)
    same = model(x, 0.3)
    assert same.shape == (5, 3)
    assert torch.equal(same, model(x, torch.tensor(0.3)))
    assert torch.equal(same, model(x, torch.full((5,), 0.3)))
    mixed = model(x, torch.tensor([0.3, 0.3, 0.9, 0.3, 0.3]))
    torch.testing.assert_close(mixed[:2], same[:2])
    assert not torch.allclose(mixed[2], same[2])
    assert model.double()(x.double(), 0.3).dtype == torch.float64
