"""Translators' objectives against their formulas, what reaches whom, and the pictures that they are trained on."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import softplus

from diffolio.errors import BadInput
from diffolio.nets.feature_discriminator import FeatureDiscriminator
from diffolio.training.domains import Domains, Pairs, edges, folder_domains, folder_pairs, tabletop_domains, tabletop_pairs
from diffolio.training.translation import Critics, Paired, Unpaired, Weights

CAPTIONS = ("by day", "by night")


class Scaling(nn.Module):
    """Stands in for a generator: a2b halves, b2a takes four fifths, each times a weight that trains."""

    def __init__(self):
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.ones(())), []
        self.model = SimpleNamespace(device=torch.device("cpu"))

    def learned(self):
        return dict(self.named_parameters())

    def text(self, prompt):
        return {"prompt": prompt}

    def forward(self, images, words, direction="a2b", *, generator=None):
        assert generator is not None
        self.calls.append((words["prompt"] if isinstance(words, dict) else words, direction))
        return images * self.weight * {"a2b": 0.5, "b2a": 0.8}[direction]


def critics(names, rate=1e-2):
    def backbone(x):
        return [torch.nn.functional.avg_pool2d(x, 4), torch.nn.functional.avg_pool2d(x, 8)]

    return Critics({name: FeatureDiscriminator(backbone, 4, seed=i) for i, name in enumerate(names)}, rate)


def bytes_of(n=3, size=16, seed=0):
    return torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def distance(x, y):
    return (x - y).square().mean((1, 2, 3))


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_papers_weights():
    assert Weights() == Weights(
        gan=0.5, cycle=1, cycle_perceptual=10, identity=1, identity_perceptual=1, l2=1, perceptual=5, text=5
    )


def test_unpaired_loss_is_the_formula():
    data, made = Domains(bytes_of(seed=1), bytes_of(seed=2), CAPTIONS), Scaling()
    judges, weights = (
        critics("ab", rate=1e-12),
        Weights(gan=0.7, cycle=2.0, cycle_perceptual=3.0, identity=0.5, identity_perceptual=4.0),
    )
    loss, told = Unpaired(made, data, judges, distance, weights, batch=2).loss(0, draws())
    a, b = data.draw(2, draws())

    def apart(x, y, weight):
        return (x - y).abs().mean() + weight * distance(x, y).mean()

    cycle = 2.0 * sum(apart(x, 0.4 * x, 3.0) for x in (a, b))
    same = 0.5 * (apart(b, 0.5 * b, 4.0) + apart(a, 0.8 * a, 4.0))
    with torch.no_grad():
        gan = sum(
            torch.stack([softplus(-level).mean() for level in judges.nets[k](x)]).mean()
            for k, x in (("b", 0.5 * a), ("a", 0.8 * b))
        )
    torch.testing.assert_close(loss, cycle + same + 0.7 * gan, rtol=1e-3, atol=1e-4)
    assert told["cycle"] == pytest.approx(float(cycle), rel=1e-4) and told["identity"] == pytest.approx(float(same), rel=1e-4)
    # Either direction is told the caption of the domain that it leads to.
    assert set(made.calls) == {("by night", "a2b"), ("by day", "b2a")} and len(made.calls) == 4


def test_paired_loss_is_the_formula():
    data, made, judges = Pairs(bytes_of(seed=1), bytes_of(seed=2), ("x", "y", "z")), Scaling(), critics("b", rate=1e-12)

    def similarity(images, prompts):
        return torch.tensor([{"x": 0.1, "y": 0.2, "z": 0.3}[p] for p in prompts]) * images.mean((1, 2, 3))

    loss, told = Paired(made, data, judges, distance, similarity, batch=3).loss(0, draws())
    x, y, captions = data.draw(3, draws())
    out = 0.5 * x
    with torch.no_grad():
        gan = torch.stack([softplus(-level).mean() for level in judges.nets["b"](out)]).mean()
    wanted = (out - y).square().mean() + 5 * distance(out, y).mean() + 5 * (1 - similarity(out, captions).mean()) + 0.5 * gan
    torch.testing.assert_close(loss, wanted, rtol=1e-3, atol=1e-4)
    assert set(told) == {"l2", "perceptual", "text", "gan", "critics"} and made.calls == [(captions, "a2b")]


def test_a_discriminator_for_each_domain_and_no_gradient_across():
    data, made, judges = Domains(bytes_of(seed=1), bytes_of(seed=2), CAPTIONS), Scaling(), critics("ab")
    assert judges.nets["a"] is not judges.nets["b"]
    before = [p.clone() for p in judges.nets.parameters()]
    loss, _ = Unpaired(made, data, judges, distance, batch=2).loss(0, draws())
    assert made.weight.grad is None  # of the discriminators' step
    after = [p.clone() for p in judges.nets.parameters()]
    assert all(not torch.equal(x, y) for x, y in zip(before, after, strict=True) if x.dim() > 1)
    loss.backward()
    assert made.weight.grad is not None and all(p.grad is None for p in judges.nets.parameters())


def test_discriminators_learn_to_tell_their_domain():
    judges, bright, dark = critics("a"), torch.full((4, 3, 16, 16), 0.9), torch.full((4, 3, 16, 16), 0.1)
    losses = [judges.teach({"a": (bright, dark)}) for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():
        assert all((x > y).all() for x, y in zip(judges.nets["a"](bright), judges.nets["a"](dark), strict=True))


def test_tabletop_domains_hold_no_pair():
    from dataclasses import replace

    from diffolio.miniatures.vae import TRAIN_SEED
    from diffolio.training.domains import PLAIN
    from diffolio.worlds.tabletop import render, sample_scenes

    data = tabletop_domains(12, 32)
    assert data.a.shape == data.b.shape == (12, 3, 32, 32) and data.b.float().mean() < data.a.float().mean() / 2
    twins = render([replace(s, style="night") for s in sample_scenes(12, 12 * TRAIN_SEED, PLAIN)], 32).images
    nearest = torch.cdist((twins * 255).flatten(1), data.b.float().flatten(1)).amin()
    assert nearest > 100
    a, b = data.draw(4, draws(3))
    c, _ = data.draw(4, draws(3))
    assert torch.equal(a, c) and a.max() <= 1 and len(b) == 4


def test_cuts_of_pairs_are_of_one_place_and_never_mirrored():
    ramp = torch.arange(16, dtype=torch.uint8).view(1, 1, 1, 16).expand(2, 3, 16, 16)
    pairs = Pairs(ramp, ramp + 100, ("x", "y"))
    inputs, outcomes, _ = pairs.draw(8, draws(), crop=8)
    assert inputs.shape == (8, 3, 8, 8)
    torch.testing.assert_close(outcomes - inputs, torch.full_like(inputs, 100 / 255))
    assert (inputs[..., 1:] > inputs[..., :-1]).all()
    a, _ = Domains(ramp, ramp, CAPTIONS).draw(32, draws(), crop=8)
    rising = (a[..., 1:] > a[..., :-1]).flatten(1).all(1)
    assert 4 < rising.sum() < 28
    with pytest.raises(BadInput, match="crop 32"):
        pairs.draw(1, draws(), crop=32)


def test_pairs_are_edges_and_their_pictures():
    pairs = tabletop_pairs(4, 64)
    torch.testing.assert_close(pairs.inputs.float() / 255, edges(pairs.outcomes.float() / 255), atol=1 / 255, rtol=0)
    lit = (pairs.inputs > 128).float().mean((1, 2, 3))
    assert ((lit > 0.01) & (lit < 0.4)).all() and all(pairs.captions)
    assert edges(torch.full((1, 3, 8, 8), 0.4)).abs().max() < 1e-2  # nothing changes, nothing is drawn


def test_folders(tmp_path):
    for name, count in (("a", 2), ("b", 3)):
        (tmp_path / name).mkdir()
        with pytest.raises(BadInput, match="holds no picture"):
            folder_domains(tmp_path, 32, CAPTIONS)
        for i in range(count):
            Image.new("RGB", (40, 48), (10 * i, 0, 0)).save(tmp_path / name / f"{i}.png")
    data = folder_domains(tmp_path, 32, CAPTIONS)
    assert data.a.shape == (2, 3, 32, 32) and len(data.b) == 3 and data.captions == CAPTIONS
    with pytest.raises(BadInput, match="no partner"):
        folder_pairs(tmp_path, 32)
    (tmp_path / "b" / "2.png").unlink()
    with pytest.raises(BadInput, match="no caption"):
        folder_pairs(tmp_path, 32)
    for i in range(2):
        (tmp_path / "b" / f"{i}.txt").write_text(f"picture {i}\n")
    assert folder_pairs(tmp_path, 32).captions == ("picture 0", "picture 1")


def test_bad_data():
    with pytest.raises(BadInput, match="bytes"):
        Domains(torch.rand(2, 3, 8, 8), bytes_of(), CAPTIONS)
    with pytest.raises(BadInput, match="two texts"):
        Domains(bytes_of(), bytes_of(), ("by day", " "))
    with pytest.raises(BadInput, match="one caption"):
        Pairs(bytes_of(), bytes_of(), ("x",))
