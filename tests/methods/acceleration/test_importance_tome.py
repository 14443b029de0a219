"""Token merging: equal to tomesd where it should be, really shorter attention, and gone afterwards."""

import pytest
import torch

from diffolio.errors import BadKnob, Conflict, Unsupported
from diffolio.methods.acceleration.importance_tome import ImportanceToMe, guidance_map, merge_important
from diffolio.models import Model
from diffolio.nets.token_merging import Merging, complement, grid_destinations, merge_best
from tests.models.tiny import tiny_pixart, tiny_sd, tiny_sd3

PROMPTS = ["a red fish", "a blue house"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("grid", [(16, 16), (9, 14)])
def test_with_tomes_choice_it_equals_tomesd(grid):
    from tomesd.merge import bipartite_soft_matching_random2d

    h, w = grid
    x = torch.randn(2, h * w, 12, generator=generator())
    removed = h * w // 3
    merge, unmerge = bipartite_soft_matching_random2d(x, w, h, 2, 2, removed, no_rand=True)
    corner = (torch.arange(h // 2)[:, None] * 2 * w + torch.arange(w // 2)[None] * 2).flatten()
    ours = merge_best(x, corner.expand(2, -1), h * w - removed)
    values = torch.randn(2, h * w, 5, generator=generator(1))
    assert ours.kept == h * w - removed
    theirs = merge(values)
    assert theirs.shape == ours.merge(values).shape
    torch.testing.assert_close(unmerge(theirs), ours.unmerge(ours.merge(values)))
    # The same groups in the same order: ToMe lists unmerged tokens by falling similarity.
    torch.testing.assert_close(theirs.sort(1).values, ours.merge(values).sort(1).values)


def test_merging_is_the_mean_of_each_group_and_unmerging_hands_it_back():
    merging = Merging(torch.tensor([[4, 1]]), torch.tensor([[0, 2, 3]]), torch.tensor([[1, 0, 1]]))
    x = torch.tensor([[[1.0], [2.0], [3.0], [6.0], [5.0]]])
    assert merging.merge(x).flatten().tolist() == [4.0, 3.0]
    assert merging.unmerge(merging.merge(x)).flatten().tolist() == [3.0, 3.0, 4.0, 3.0, 4.0]
    equal = torch.tensor([[[7.0], [7.0], [9.0], [7.0], [9.0]]])
    assert torch.equal(merging.unmerge(merging.merge(equal)), equal), "equal members come back unchanged"


def test_importance_keeps_what_matters():
    n, keep = 64, 16
    x = torch.randn(3, n, 8, generator=generator())
    score = torch.zeros(3, n)
    score[:, 10:30] = 1 + torch.rand(3, 20, generator=generator(1))
    merging = merge_important(x, score, keep, pool=0.25, dst=0.25, generator=generator(2))
    assert merging.kept == keep
    assert ((merging.heads >= 10) & (merging.heads < 30)).all(), "heads come from the pool"
    everything = torch.cat([merging.heads, merging.members], 1).sort(1).values
    assert torch.equal(everything, torch.arange(n).expand(3, -1)), "every token is in one group"


def test_candidates_that_match_no_destination_stay_alone():
    """Of the pool, the tokens least similar to every destination are kept; a duplicate of a destination is merged."""
    x = torch.zeros(1, 8, 4)
    x[0, :6] = torch.tensor([1.0, 0, 0, 0])
    x[0, 6], x[0, 7] = torch.tensor([0, 1.0, 0, 0]), torch.tensor([0, 0, 1.0, 0])
    score = torch.tensor([[9.0, 8, 7, 6, 0, 0, 5, 4]])
    for seed in range(8):
        merging = merge_important(x, score, keep=4, pool=0.75, dst=0.25, generator=generator(seed))
        destinations = set(merging.heads[0, 2:].tolist())
        for odd in {6, 7} - destinations:
            assert odd in merging.heads[0].tolist()


def test_destinations_are_drawn_from_the_pool_and_not_its_top():
    score = torch.arange(64.0)[None]
    x = torch.randn(1, 64, 8, generator=generator())
    seen = {tuple(sorted(merge_important(x, score, 32, 0.5, 0.25, generator(s)).heads[0, -16:].tolist())) for s in range(6)}
    assert len(seen) == 6
    assert all(min(d) < 48 for d in seen)


def test_grid_destinations_and_complement():
    index = grid_destinations((5, 6), 2, generator())
    cells = {(int(i) // 6 // 2, int(i) % 6 // 2) for i in index}
    assert len(index) == 6 == len(cells)
    assert sorted([*complement(index[None], 30)[0].tolist(), *index.tolist()]) == list(range(30))


def test_the_map_is_the_guidance_term():
    cond, uncond = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(guidance_map(cond, uncond), (cond - uncond).abs().mean(1))


@pytest.mark.parametrize("build", [tiny_sd, tiny_pixart])
def test_attention_is_really_shorter_and_everything_comes_back(build):
    model = Model(build())
    plain = model.sample(PROMPTS, steps=3).images
    seen = []

    def count(site, q, k, v):
        seen.append((site.path, q.shape[2]))

    technique = ImportanceToMe(ratio=0.5)
    with technique.on(model), model.seams.attention(qkv=count, where=lambda site: site.kind == "self"):
        merged = model.sample(PROMPTS, steps=3).images
    report = model.reports["importance_tome"]
    tokens = {path: n for path, (n, _) in report.layers.items()}
    assert tokens, "no layer was merged"
    for path, kept in seen:
        block = path.removesuffix(".attn1")
        assert kept == (tokens[block] // 2 if block in tokens else kept)
    assert {p.removesuffix(".attn1") for p, _ in seen} >= set(tokens)
    assert report.as_dict()["attention_macs_ratio"] == pytest.approx(0.25)
    assert report.score.shape == (2, 16, 16)
    assert not torch.equal(plain, merged)
    assert torch.equal(plain, model.sample(PROMPTS, steps=3).images), "restored bit for bit"


def test_only_the_finest_layers_by_default():
    model = Model(tiny_sd())
    with ImportanceToMe().on(model):
        model.sample(PROMPTS[:1], steps=2)
    report = model.reports["importance_tome"]
    assert {n for n, _ in report.layers.values()} == {256}
    with ImportanceToMe(max_downsample=2).on(model):
        model.sample(PROMPTS[:1], steps=2)
    assert {n for n, _ in model.reports["importance_tome"].layers.values()} == {256, 64}


def test_neutral_is_bit_identical_and_seeds_do_not_touch_the_global_generator():
    model = Model(tiny_sd())
    plain = model.sample(PROMPTS, steps=2).images
    with ImportanceToMe(ratio=0.6).neutral().on(model):
        assert torch.equal(plain, model.sample(PROMPTS, steps=2).images)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with ImportanceToMe().on(model):
        first = model.sample(PROMPTS, steps=2).images
        second = model.sample(PROMPTS, steps=2).images
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, second), "every picture starts anew"


def test_rectangular_pictures():
    model = Model(tiny_sd())
    with ImportanceToMe().on(model):
        assert model.sample(PROMPTS, steps=2, height=64, width=192).images.shape[-2:] == (64, 192)


def test_bad_input():
    model = Model(tiny_sd())
    with pytest.raises(BadKnob, match="below 0.95"):
        ImportanceToMe(ratio=0.95)
    with pytest.raises(Unsupported, match="score=none"), ImportanceToMe().on(model):
        model.sample(PROMPTS, steps=2, guidance_scale=1.0)
    with ImportanceToMe(score="none").on(model):
        model.sample(PROMPTS, steps=2, guidance_scale=1.0)
    with pytest.raises(Unsupported, match="attn1"), ImportanceToMe().on(Model(tiny_sd3())):
        pass
    with pytest.raises(Conflict, match="importance_tome"), ImportanceToMe().on(model), ImportanceToMe().on(model):
        pass
