"""Training a score network on points in a moment."""

import pytest
import torch

from diffolio.errors import BadInput, NotFinite
from diffolio.process.sde import Simple
from diffolio.training.points import load_scores, save_scores, train_score
from diffolio.worlds.points import points


def test_it_learns_is_a_function_of_its_seed_and_leaves_the_global_generator():
    sde, data = Simple(), points("swiss_roll", 200, 1)
    before = torch.random.get_rng_state()
    told = []
    model = train_score(data, sde, seed=10_000_001, steps=60, batch=64, width=32, each=lambda step, loss: told.append(step))
    again = train_score(data, sde, seed=10_000_001, steps=60, batch=64, width=32)
    assert torch.equal(before, torch.random.get_rng_state())
    assert told == [60]
    x, t = data[:50], torch.tensor(0.6)
    assert torch.equal(model(x, t), again(x, t))
    assert not any(p.requires_grad for p in model.parameters())
    # Far from the data every score points back to them.
    far = torch.tensor([[3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]])
    assert bool(((model(far, t) * far).sum(1) < 0).all())


def test_bad_input():
    with pytest.raises(BadInput, match="points"):
        train_score(torch.zeros(3), Simple(), seed=0)
    with pytest.raises(NotFinite, match="rate"):
        train_score(torch.full((4, 2), torch.inf), Simple(), seed=0, steps=1, batch=4)


def test_networks_come_back_bit_for_bit(tmp_path):
    made = {
        name: train_score(torch.randn(8, d), Simple(), seed=1, steps=1, batch=4, width=8)
        for name, d in (("line", 1), ("plane-7", 2))
    }
    save_scores(made, tmp_path / "scores", {"steps": 1})
    found = load_scores(tmp_path / "scores")
    assert list(found) == ["line", "plane-7"]
    for name, d in (("line", 1), ("plane-7", 2)):
        assert torch.equal(found[name](torch.ones(3, d), 0.4), made[name](torch.ones(3, d), 0.4))
    assert '"steps": 1' in (tmp_path / "scores" / "config.json").read_text()
