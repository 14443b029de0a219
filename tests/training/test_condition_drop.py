"""How often conditions are dropped, by which rule, and what a dropped one is."""

import pytest
import torch

from diffolio.errors import BadInput, BadKnob, UnknownName
from diffolio.training.condition_drop import DropSchedule, JointDrop, keep_samples, kept

N = 40000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_independent_drops_have_their_rates_and_their_correlation():
    schedule = DropSchedule({"road": 0.6, "depth": 0.5}, keep_all=0.1, drop_all=0.2)
    keep = schedule.draw(N, seeded())
    for name, p in schedule.drop.items():
        assert schedule.share_kept(name) == pytest.approx(0.1 + 0.7 * (1 - p))
        assert keep[name].float().mean().item() == pytest.approx(schedule.share_kept(name), abs=0.01)
    both = (keep["road"] & keep["depth"]).float().mean().item()
    neither = (~keep["road"] & ~keep["depth"]).float().mean().item()
    assert both == pytest.approx(0.1 + 0.7 * 0.4 * 0.5, abs=0.01)
    assert neither == pytest.approx(0.2 + 0.7 * 0.6 * 0.5, abs=0.01)


def test_keep_all_and_drop_all_alone():
    assert all(x.all() for x in DropSchedule({"a": 0.9, "b": 1.0}, 1.0, 0.0).draw(50, seeded()).values())
    assert not any(x.any() for x in DropSchedule({"a": 0.0, "b": 0.1}, 0.0, 1.0).draw(50, seeded()).values())
    never = DropSchedule({"a": 0.0, "b": 1.0}, 0.0, 0.0).draw(50, seeded())
    assert never["a"].all() and not never["b"].any()


def test_joint_drops_are_exclusive():
    schedule = JointDrop(((0.1, ("image",)), (0.2, ("text",)), (0.3, ("image", "text"))))
    keep = schedule.draw(N, seeded())
    cases = {(True, True): 0.4, (False, True): 0.1, (True, False): 0.2, (False, False): 0.3}
    for (image, text), share in cases.items():
        assert ((keep["image"] == image) & (keep["text"] == text)).float().mean().item() == pytest.approx(share, abs=0.01)


def test_the_same_generator_gives_the_same_draw():
    schedule = DropSchedule({"a": 0.5})
    assert torch.equal(schedule.draw(64, seeded(3))["a"], schedule.draw(64, seeded(3))["a"])
    assert not torch.equal(schedule.draw(64, seeded(3))["a"], schedule.draw(64, seeded(4))["a"])


def test_dropped_samples_are_set_to_the_absent_value():
    x = torch.ones(3, 2, 2)
    keep = {"a": torch.tensor([True, False, True])}
    made = kept({"a": x, "b": x}, keep)
    assert torch.equal(made["a"].amax((1, 2)), torch.tensor([1.0, 0.0, 1.0]))
    assert made["b"] is x
    null = torch.full((1, 2, 2), 7.0)
    assert torch.equal(keep_samples(x, keep["a"], null)[1], null[0])


def test_bad_probabilities_and_shapes():
    with pytest.raises(BadKnob, match="a"):
        DropSchedule({"a": 1.2})
    with pytest.raises(BadKnob, match="together"):
        DropSchedule({"a": 0.1}, 0.6, 0.5)
    with pytest.raises(BadKnob, match="at most 1"):
        JointDrop(((0.6, ("a",)), (0.6, ("b",))))
    with pytest.raises(UnknownName, match="road"):
        DropSchedule({"road": 0.1}).share_kept("raod")
    with pytest.raises(BadInput, match="3 samples"):
        keep_samples(torch.ones(3, 2), torch.ones(2, dtype=torch.bool))
