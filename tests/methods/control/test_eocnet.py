"""EOCNet: rectified attention, the two gated parts, layouts as conditions, training, and that all of it comes off again."""

import copy
import functools
import json
import warnings

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image

from diffolio import miniatures
from diffolio.errors import BadInput, BadKnob, Unsupported
from diffolio.methods.control.eocnet import EOCNet, drawn, split
from diffolio.models import DiffolioWarning, Model, load
from diffolio.models.coherence import CoherenceAdapter, laid_out, load_coherence, save_coherence
from diffolio.models.fine_tuning import copied, trainable
from diffolio.models.layout_files import coloured, read_layout
from diffolio.models.layouts import Layout, read_layouts, token_classes
from diffolio.models.swapped import swapped
from diffolio.nets.coherence import LayoutFusion, SelfSimilarityAttention, self_similarity
from diffolio.seams.regions import allowed_tokens, rectified
from diffolio.training.layouts import FollowLayouts, LaidOutLatents, coherent_latents, laid_out_latents, weights_of
from diffolio.training.loop import Budget
from tests.models.tiny import tiny_model, tiny_pixart, tiny_sd


@functools.cache
def small():
    """For what does not depend on the layout of the network: two levels, two heads, latents of 8 x 8, pictures of 64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=32,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=2,
        )  # fmt: skip
    pipeline = StableDiffusionPipeline(**{**tiny_sd().components, "unet": unet.eval()}, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return Model(pipeline, name="small")


def pool():
    layouts = [layout(64), layout(64, caption="the star touches"), layout(64)]
    return LaidOutLatents(torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(4)).half(), layouts)


def layout(size=128, caption="the circle touches the star"):
    labels = torch.zeros(size, size, dtype=torch.long)
    labels[: size // 2, : size // 2] = 3
    labels[size // 2 :, size // 2 :] = 7
    return Layout(labels, {0: "white background", 3: "tilted circle", 7: "star"}, caption)


def forward(model, rows=("uncond", "cond"), seed=0, n=1, cells=16):
    """The network's raw output (rows * n, 4, cells, cells) on fixed noise and one prompt."""
    x = torch.randn(n, 4, cells, cells, generator=torch.Generator().manual_seed(seed)).repeat(len(rows), 1, 1, 1)
    condition = model.condition([layout().text] * n)
    with torch.no_grad(), model.seams.rows(*rows):
        return model.denoiser(x, 500, **condition.joined(rows), return_dict=False)[0]


def opened(model, **parts):
    """An adapter whose gates are open and whose zero convolution is not zero."""
    adapter = CoherenceAdapter(model, **parts).requires_grad_(False)
    for module in (*adapter.similarity, *([adapter.fusion] if adapter.fusion is not None else [])):
        module.gate.fill_(0.7)
    if adapter.fusion is not None:
        torch.nn.init.normal_(adapter.fusion.proj_out.weight, generator=torch.Generator().manual_seed(1))
    return adapter


# Exact


def test_self_similarity_is_the_cosine_with_each_neighbour():
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = self_similarity(x, 3)
    assert found.shape == (2, 9, 5, 7)
    for i in range(3):
        for j in range(3):
            row, column = 2 + j - 1, 3 + i - 1
            wanted = torch.cosine_similarity(x[:, :, 2, 3], x[:, :, row, column], dim=1)
            assert torch.allclose(found[:, 3 * i + j, 2, 3], wanted)
    assert (found[:, 0, :, 0] == 0).all()  # the neighbour to the left of the first column
    assert torch.allclose(found[:, 4], torch.ones(2, 5, 7, dtype=torch.float64))
    with pytest.raises(BadInput, match="odd"):
        self_similarity(x, 4)


def test_self_similarity_is_local_and_of_the_queries():
    part = SelfSimilarityAttention(8, 5)
    q, v = (torch.randn(1, 2, n, 4, generator=torch.Generator().manual_seed(n)) for n in (256, 8))
    far = q.clone()
    far[:, :, 0] += 5
    a, b = part(q, v, (16, 16)), part(far, v, (16, 16))
    assert not torch.equal(a[:, :, 0], b[:, :, 0])
    assert torch.equal(a[:, :, 200:], b[:, :, 200:])  # a global similarity would have changed them
    weights = part(q, torch.eye(8).expand(1, 2, 8, 8), (16, 16))
    assert torch.allclose(weights.sum(-1), torch.ones(1, 2, 256))
    assert torch.allclose(a, weights @ v, atol=1e-6)
    assert torch.allclose(part(3 * q, v, (16, 16)), a, atol=1e-6)  # only directions of queries count
    with pytest.raises(BadInput, match="made for 8"):
        part(q, v[:, :, :5], (16, 16))


def test_fusion_starts_as_the_layout_itself_and_reads_the_text():
    part = LayoutFusion(16, 4, 12, 8)
    labels = torch.rand(2, 1, 6, 6)
    text = torch.randn(2, 5, 12)
    assert torch.equal(part(labels, text), labels)
    assert part.gate == 0
    torch.nn.init.normal_(part.proj_out.weight)
    assert not torch.allclose(part(labels, text), part(labels, text.flip(1) + 1))


def test_masking_acts_before_the_softmax():
    """Against the formula in float64: a class's tokens are seen inside its region only, and weights sum to one over what is left."""
    model, one = tiny_model(), layout()
    read, sums = read_layouts(model, [one]), []
    allowed = allowed_tokens(read.labels, read.tokens, (16, 16))[0]

    def look(site, p):
        if site.grid == (16, 16):
            sums.append(p[site.row("cond")][0])

    with (
        rectified(model.seams, read.labels, read.tokens),
        model.seams.attention(probabilities=look, where=lambda s: s.kind == "cross"),
    ):
        forward(model)
    assert sums
    for p in sums:
        assert torch.allclose(p.sum(-1), torch.ones(p.shape[:2]), atol=1e-5)
        assert (p[:, ~allowed] == 0).all()
        assert (p[:, allowed] > 0).all()


def test_tokens_belong_to_the_regions_of_their_words():
    model, one = tiny_model(), layout()
    assert one.text == "white background tilted circle star the circle touches the star"
    classes = token_classes(model, one).tolist()
    assert classes[0] == -1  # the start mark
    assert classes[1:6] == [0, 0, 3, 3, 7]
    assert set(classes[6:]) == {-1}  # caption and padding, a second "circle" and "star" among them
    spelled = Layout(one.labels, {0: "x", 3: "zebra", 7: "star"}, "")
    tokens = model.pipeline.tokenizer.tokenize("zebra")
    assert len(tokens) > 1
    assert token_classes(model, spelled).tolist().count(3) == len(tokens)


def test_regions_are_resized_to_the_nearest():
    one = layout(64)
    allowed = allowed_tokens(one.labels[None, None] / 255, torch.tensor([[-1, 0, 3, 7]]), (4, 4))[0].view(4, 4, 4)
    assert allowed[..., 0].all()
    assert allowed[0, 0].tolist() == [True, False, True, False]
    assert allowed[3, 3].tolist() == [True, False, False, True]
    assert allowed[0, 3].tolist() == [True, True, False, False]


def test_weights_of_cells_have_mean_one():
    labels = layout(64).labels[None, None] / 255
    weights = weights_of(labels, (16, 16), 5.0)
    assert weights.mean() == pytest.approx(1)
    assert weights.max() / weights.min() == pytest.approx(5)
    assert (weights_of(labels, (16, 16), 1.0) == 1).all()


def test_budgets_split():
    assert split(Budget(steps=100), 0.0) == (None, Budget(steps=100))
    assert split(Budget(steps=830), 0.625) == (Budget(steps=519), Budget(steps=311))
    assert split(Budget(seconds=10), 0.5) == (Budget(seconds=5), Budget(seconds=5))


# Real architecture: Stable Diffusion's layout


def test_closed_gates_give_the_base_with_rectified_attention():
    model, one = tiny_model(), layout()
    read, adapter = read_layouts(model, [one]), CoherenceAdapter(tiny_model())
    with rectified(model.seams, read.labels, read.tokens):
        plain = forward(model)
    with laid_out(model, read, adapter):
        assert torch.equal(forward(model), plain)
    assert not torch.equal(plain, forward(model))


def test_each_part_acts_alone_and_only_in_the_conditional_row():
    model = tiny_model()
    read, before = read_layouts(model, [layout()]), forward(model)
    adapter, found = opened(model), {}
    for name, parts in {"both": {}, "gsf": {"sca": False}, "sca": {"gsf": False}, "none": {"gsf": False, "sca": False}}.items():
        with laid_out(model, read, adapter, **parts):
            found[name] = forward(model)
    assert all(torch.allclose(out[:1], before[:1], atol=1e-6) for out in found.values())
    pairs = [("both", "gsf"), ("both", "sca"), ("gsf", "sca"), ("gsf", "none"), ("sca", "none")]
    assert all(not torch.allclose(found[a][1:], found[b][1:], atol=1e-5) for a, b in pairs)
    assert torch.equal(forward(model), before)


def test_one_class_everywhere_is_plain_cross_attention():
    model = tiny_model()
    whole = Layout(torch.full((128, 128), 4), {4: "star"}, "the circle touches the star")
    read = read_layouts(model, [whole])
    condition = model.condition([whole.text])
    x = torch.randn(1, 4, 16, 16)
    with torch.no_grad(), model.seams.rows("cond"):
        plain = model.denoiser(x, 300, **condition["cond"], return_dict=False)[0]
        with laid_out(model, read):
            assert torch.allclose(model.denoiser(x, 300, **condition["cond"], return_dict=False)[0], plain, atol=1e-5)


def test_samples_without_a_layout_are_the_plain_model_s():
    model = tiny_model()
    read, plain = read_layouts(model, [layout(), layout()]), forward(model, ("cond",), n=2)
    with laid_out(model, read, opened(model), present=torch.tensor([True, False])):
        mixed = forward(model, ("cond",), n=2)
    assert torch.allclose(mixed[1], plain[1], atol=1e-5)
    assert not torch.allclose(mixed[0], plain[0], atol=1e-3)


def test_comes_off_bit_for_bit_also_after_an_exception(tmp_path):
    model = tiny_model()
    weights = {name: torch.randn_like(p) for name, p in model.denoiser.named_parameters() if ".attn2.to_q" in name}
    place = save_coherence(tmp_path / "export", model, weights, opened(model), {"fuse_with": "caption"})
    before, blocks = forward(model), [dict(vars(block)) for block in model.denoiser.up_blocks]
    with EOCNet(freeu=True).on(model, [layout()], place):
        assert not torch.equal(forward(model), before)
        with pytest.raises(BadInput, match="layouts"):
            forward(model, n=3)
    with pytest.raises(ZeroDivisionError), EOCNet(freeu=True).on(model, [layout()], place):
        1 / 0  # noqa: B018
    assert torch.equal(forward(model), before)
    kept = [
        {k: v for k, v in vars(block).items() if k in ("s1", "s2", "b1", "b2") and v is not None}
        for block in model.denoiser.up_blocks
    ]
    assert kept == [{k: v for k, v in old.items() if k in ("s1", "s2", "b1", "b2") and v is not None} for old in blocks]


def test_freeu_and_the_prompt_for_gsf_make_a_difference(tmp_path):
    model = small()
    place = save_coherence(tmp_path / "export", model, {}, opened(model), {"fuse_with": "caption"})
    other = save_coherence(tmp_path / "other", model, {}, opened(model), {"fuse_with": "prompt"})
    outs = []
    for method, where in ((EOCNet(), place), (EOCNet(freeu=True), place), (EOCNet(), other)):
        with method.on(model, [layout(64)], where):
            outs.append(forward(model, cells=8))
    assert not torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_training_saves_what_it_trained_and_leaves_the_base_alone(tmp_path):
    model, data = small(), pool()
    before = copy.deepcopy(model.denoiser.state_dict())
    recipe = EOCNet(trains="attention", rate=1e-2, batch=2, emphasis=5.0, rectified_first=0.5, compare=True)
    trained = recipe.fit(model, data, Budget(steps=4), folder=tmp_path, progress=False)
    assert all(torch.equal(value, model.denoiser.state_dict()[name]) for name, value in before.items())
    assert trained.log.read_text().startswith("step,loss,plain,gsf,sca")
    full, plain = load_coherence(tmp_path / "export", model), load_coherence(tmp_path / "export" / "baseline", model)
    assert full.about["trained_steps"] == plain.about["trained_steps"] == 4
    assert plain.adapter is None
    assert set(full.weights) == set(plain.weights)
    assert all(".attentions." in name and ".ff." not in name for name in full.weights)
    assert any(gate != 0 for gate in full.adapter.gates().values())
    assert EOCNet(steps=2).sample(model, [layout(64)], tmp_path / "export").shape == (1, 3, 64, 64)
    with pytest.raises(BadInput, match="other weights"):
        load_coherence(tmp_path / "export", tiny_model())


def test_training_resumes(tmp_path):
    model, data = small(), pool()
    recipe = EOCNet(trains="attention", rate=1e-3, batch=1)
    whole = recipe.fit(model, data, Budget(steps=3), folder=tmp_path / "a", progress=False)
    assert recipe.fit(model, data, Budget(steps=3), folder=tmp_path / "a", progress=False, resume=True).steps == whole.steps
    gates = [load_coherence(tmp_path / "a" / "export", model).adapter.gates()]
    recipe.fit(model, data, Budget(steps=3), folder=tmp_path / "b", progress=False)
    gates.append(load_coherence(tmp_path / "b" / "export", model).adapter.gates())
    assert gates[0] == gates[1]


def test_gradients_reach_gates_and_weights_only_where_asked():
    model = copied(tiny_model())
    chosen = trainable(model.denoiser, "attention")
    data = LaidOutLatents(torch.randn(2, 4, 16, 16).half(), [layout(), layout()])
    objective = FollowLayouts(model, CoherenceAdapter(model), data, batch=2, empty=0.0)
    loss, told = objective.loss(0, torch.Generator().manual_seed(0))
    loss.backward()
    assert objective.adapter.fusion.gate.grad.abs() > 0
    assert all(part.gate.grad.abs() > 0 for part in objective.adapter.similarity)
    frozen = [p for name, p in model.denoiser.named_parameters() if name not in chosen]
    assert all(p.grad is None for p in frozen)
    assert told["gsf"] == told["sca"] == 0


# Bad input


def test_refuses_what_is_no_layout():
    labels = layout().labels
    with pytest.raises(BadInput, match=r"classes \[7\] of the label map have no word"):
        Layout(labels, {0: "table", 3: "circle"})
    with pytest.raises(BadInput, match="8 bits"):
        Layout(labels + 250, {})
    with pytest.raises(BadInput, match="integers"):
        Layout(labels.float(), {})
    assert Layout(torch.where(labels == 7, 255, labels), {0: "table", 3: "circle"}).classes == [0, 3]


def test_refuses_what_a_model_cannot_read():
    model = tiny_model()
    with pytest.raises(BadInput, match="multiples of 64"):
        read_layouts(model, [layout(72)])
    with pytest.raises(BadInput, match="different sizes"):
        read_layouts(model, [layout(), layout(64)])
    with pytest.raises(BadInput, match="more than the 32 tokens"):
        read_layouts(model, [Layout(layout().labels, {0: "zzz " * 30, 3: "circle", 7: "star"}, "x")])
    with pytest.warns(DiffolioWarning, match="no caption"):
        read = read_layouts(model, [layout(caption="")])
    assert read.captions == ["white background tilted circle star"] == read.texts
    with pytest.raises(BadInput, match="no layout"):
        read_layouts(model, [])
    with pytest.raises(Unsupported, match="works on unet"):
        EOCNet().sample(Model(tiny_pixart()), layout())


def test_refuses_data_folders_and_swaps_that_do_not_fit(tmp_path):
    model = tiny_model()
    with pytest.raises(BadInput, match="sequence of"):
        laid_out_latents(model, [(torch.rand(3, 128, 128), "a caption")], 4)
    with pytest.raises(BadInput, match="same size"):
        laid_out_latents(model, [(torch.rand(3, 64, 64), layout())], 4)
    both = laid_out_latents(model, [(torch.rand(3, 128, 128), layout())], 4)
    assert torch.equal(both.layouts[1].labels, layout().labels.flip(-1))
    with pytest.raises(BadInput, match="holds nothing trained"):
        load_coherence(tmp_path, model)
    with pytest.raises(BadInput, match="do not fit"), swapped(model.denoiser, {"conv_in.weight": torch.zeros(3)}):
        pass
    with pytest.raises(BadKnob, match="odd"):
        EOCNet(window=4)
    with pytest.raises(BadInput, match="compare=True"):
        EOCNet(gsf=False, sca=False, compare=True).fit(model, both, Budget(steps=1), folder=tmp_path)


def test_layout_files(tmp_path):
    labels = layout(16).labels
    Image.fromarray(labels.numpy().astype("uint8")).save(tmp_path / "map.png")
    record = {"text_label_mapping": {"table": 0, "circle": 3, "star": 7}, "caption": "they touch", "layout_path": "./map.png"}
    (tmp_path / "a.json").write_text(json.dumps(record))
    read = read_layout(tmp_path / "a.json", 128)
    assert torch.equal(read.labels, layout(128).labels)
    assert read.text == "table circle star they touch"
    assert coloured([read]).shape == (1, 3, 128, 128)
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(BadInput, match="no layout"):
        read_layout(tmp_path / "b.json", 128)


# Miniature


def test_the_tabletop_s_data_fits_the_bundled_model():
    model = load("mini-sd")
    data = coherent_latents(model, 3)
    assert data.latents.shape == (3, 4, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_layouts(model, data.layouts)
    assert read.tokens.shape == (3, 32)
    assert [one.caption for one in drawn(64, 2, 0)] != [one.caption for one in drawn(64, 2, 1)]


def test_the_bundled_adapter_keeps_things_in_their_regions():
    """One picture, few steps: what is in the regions differs from the table around them."""
    model, place = load("mini-sd"), miniatures.adapter("eocnet")
    (one,) = drawn(64, 1, 3)
    image = EOCNet(steps=6).sample(model, one, place)[0]
    ground = image[:, one.labels == 0].median(1).values
    away = (image - ground[:, None, None]).abs().amax(0)
    assert away[one.labels > 0].mean() > 2 * away[one.labels == 0].mean()
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < 8 * 2**20
    assert (place / "baseline").is_dir()
