"""LayerDiff: layers that are denoised together, what stays bit-identical, the widened UNet's start, and the bundled network's effect."""

import random
import warnings

import pytest
import torch

from diffolio import miniatures
from diffolio.errors import BadInput, BadKnob, Conflict
from diffolio.methods.editing.layerdiff import LayerDiff, Layered
from diffolio.models import DiffolioWarning, Model, load
from diffolio.models.layer_network import LayerNetwork, load_layers, read_texts, save_layers
from diffolio.models.layer_sampling import SelfMask
from diffolio.registry import get, make
from diffolio.results import Job
from diffolio.training.layered import LayeredPictures, LayerPool, LayerTraining, layer_folder, picture_stacks
from diffolio.training.loop import Budget
from tests.models.tiny import tiny_sd

PROMPTS = ["a table", "a red ball", "a blue box", "a cat", "a dog"]
SAMPLING = {"steps": 2, "smg": 0.0, "guidance_scale": 3.0}


@pytest.fixture(scope="module")
def model():
    return Model(tiny_sd(), name="tiny")


@pytest.fixture(scope="module")
def layered(model):
    return Layered(LayerDiff(), model, moved(LayerNetwork(model, 3, rank=2)))


@pytest.fixture(scope="module")
def mini():
    return load("mini-sd")


def moved(network, seed=1):
    """As if it were trained: not the base any more, and no weight is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.learned().values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network.eval().requires_grad_(False)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def said(model, network, latents, t=500, prompts=None, rows=("cond",), whole="everything"):
    layers = len(latents)
    texts = read_texts(model, [whole], [(prompts or PROMPTS)[:layers]])
    with torch.no_grad():
        return network.predict(model, latents, torch.full((layers,), t), texts, rows)


def scene(layers=3, side=128):
    images = torch.rand(layers, 3, side, side, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(layers - 1, 1, side, side)
    masks[:, :, : side // 2] = 1
    return LayeredPictures(images, masks, "everything", PROMPTS[:layers])


# True architecture: Stable Diffusion's UNet and AutoencoderKL


def test_before_training_the_picture_s_half_is_the_base(model):
    network = LayerNetwork(model, 3, mask_input=0.0, rank=2)
    latents = drawn(3, 8, 16, 16)
    for layers in (1, 3):
        found = said(model, network, latents[:layers])["cond"]
        with torch.no_grad():
            own = model.predict(latents[:layers, :4], 500, model.condition(PROMPTS[:layers])).raw
        torch.testing.assert_close(found["image"].raw, own, atol=1e-5, rtol=0)
        assert not found["mask"].clean.any() and found["mask"].kind == "sample"
    halved = LayerNetwork(model, 3, rank=2).joint.unet.conv_in.weight
    torch.testing.assert_close(halved[:, 4:], 0.5 * halved[:, :4])


def test_one_to_five_layers_run_and_more_than_trained_are_refused(model):
    network = moved(LayerNetwork(model, 5, rank=2))
    for layers in range(1, 6):
        assert said(model, network, drawn(layers, 8, 16, 16))["cond"]["mask"].clean.shape == (layers, 4, 16, 16)
    with pytest.raises(BadInput, match="made for 2"):
        said(model, LayerNetwork(model, 2, rank=2), drawn(3, 8, 16, 16))


def test_permuting_layers_permutes_the_outcome_unless_they_are_told_apart(model):
    latents, order = drawn(3, 8, 16, 16), [0, 2, 1]
    for embedding in (False, True):
        network = moved(LayerNetwork(model, 3, rank=2, embedding=embedding))
        one = said(model, network, latents)["cond"]["image"].raw
        other = said(model, network, latents[order], prompts=[PROMPTS[i] for i in order])["cond"]["image"].raw
        assert torch.allclose(other, one[order], atol=1e-5) != embedding


def test_layers_see_each_other_by_attention_alone_and_read_the_global_prompt(model, layered):
    latents = drawn(3, 8, 16, 16)
    other = latents.clone()
    other[2] += drawn(8, 16, 16, seed=2)
    parts = {"inter_layer": False, "enhancer": False}, {"inter_layer": False, "enhancer": True}
    for network, sees, reads in (
        (moved(LayerNetwork(model, 3, rank=2, **parts[0])), False, False),  # independent layers: the baseline
        (moved(LayerNetwork(model, 3, rank=2, **parts[1])), False, True),
        (layered.network, True, True),
    ):
        one, two = (said(model, network, z)["cond"]["image"].raw for z in (latents, other))
        assert torch.equal(one[:2], two[:2]) != sees
        green = said(model, network, latents, whole="a green horse")["cond"]["image"].raw
        assert torch.equal(one, green) != reads


def test_scenes_of_a_batch_do_not_mix_and_rows_have_their_own_texts(model, layered):
    latents = drawn(6, 8, 16, 16)
    texts = read_texts(model, ["one", "two"], [PROMPTS[:3], PROMPTS[2:5]])
    t = torch.full((6,), 300)
    with torch.no_grad():
        both = layered.network.predict(model, latents, t, texts, ("uncond", "cond"))
        alone = read_texts(model, ["two"], [PROMPTS[2:5]])
        single = layered.network.predict(model, latents[3:], t[3:], alone, ("uncond", "cond"))
    for row in ("uncond", "cond"):
        torch.testing.assert_close(both[row]["image"].raw[3:], single[row]["image"].raw, atol=1e-5, rtol=0)
    assert not torch.allclose(both["uncond"]["image"].raw, both["cond"]["image"].raw)


def test_sampling_leaves_the_model_as_it_was_also_after_an_exception(model, layered):
    own, latents = model.denoiser, drawn(1, 4, 16, 16)
    before = model.predict(latents, 500, model.condition(["a cat"])).raw
    made = layered.sample("everything", PROMPTS[:3], seed=3, **SAMPLING)
    assert made.images.shape == (3, 3, 128, 128) and made.masks.shape == (2, 1, 128, 128)
    assert float(made.masks.min()) >= 0 and float(made.masks.max()) <= 1
    network = layered.network
    handle = network.joint.unet.mid_block.register_forward_pre_hook(stop)
    with pytest.raises(RuntimeError, match="stop"):
        layered.sample("everything", PROMPTS[:3], **SAMPLING)
    handle.remove()
    assert model.denoiser is own
    assert torch.equal(model.predict(latents, 500, model.condition(["a cat"])).raw, before)
    with model.seams.features(lambda site, x: None, "mid_block"), pytest.raises(Conflict, match="inside"):
        layered.sample("everything", PROMPTS[:3], **SAMPLING)


def stop(*_):
    raise RuntimeError("stop")


def test_a_regenerated_layer_leaves_the_others_bit_identical(layered):
    one = layered.sample("everything", PROMPTS[:3], seed=3, **SAMPLING)
    two = layered.regenerate(one, 2, "a green horse", seed=9, **SAMPLING)
    assert torch.equal(two.images[:2], one.images[:2]) and torch.equal(two.masks[:1], one.masks[:1])
    assert not torch.equal(two.images[2], one.images[2]) and not torch.equal(two.masks[1], one.masks[1])
    assert two.prompts == ("a table", "a red ball", "a green horse")
    again = layered.regenerate(one, 0, "a desk", seed=9, **SAMPLING)
    assert torch.equal(again.images[1:], one.images[1:]) and torch.equal(again.masks, one.masks)


def test_self_mask_guidance_costs_one_row_and_acts_only_where_masks_are(layered, monkeypatch):
    seen = []
    hook = layered.network.joint.unet.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    options = {**SAMPLING, "seed": 1}
    plain = layered.sample("everything", PROMPTS[:2], **options)
    guided = layered.sample("everything", PROMPTS[:2], **{**options, "smg": 0.7})
    hook.remove()
    assert seen == [4, 4, 4, 2, 4, 2]
    monkeypatch.setattr(SelfMask, "where", lambda self, masks: torch.zeros_like(masks[:, :1]))
    nowhere = layered.sample("everything", PROMPTS[:2], **{**options, "smg": 0.7})
    torch.testing.assert_close(nowhere.images, plain.images, atol=1e-4, rtol=0)
    assert guided.images.shape == plain.images.shape


def test_masks_are_told_in_latents_by_which_end_is_nearer():
    ends = SelfMask(0.7, 1.0, torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0]))
    z = torch.tensor([[0.4, -0.2, -3.0], [5.0, 5.0, 5.0]]).view(1, 2, 1, 3)
    assert ends.where(z).flatten().tolist() == [0, 1, 1]


def test_saved_and_loaded_again_and_refused_on_another_base_or_vae(model, layered, mini, tmp_path):
    save_layers(layered.network, tmp_path / "a", model, {"levels": [0.9, 0.1]})
    loaded = LayerDiff(start=str(tmp_path / "a")).load(model)
    assert loaded.levels == (0.9, 0.1) and loaded.network.settings == layered.network.settings
    assert all(torch.equal(loaded.network.learned()[n], p.half().float()) for n, p in layered.network.learned().items())
    with pytest.raises(BadInput, match="other weights"):
        load_layers(tmp_path / "a", mini)
    record = tmp_path / "a" / "joint.json"
    record.write_text(record.read_text().replace('"vae": "', '"vae": "0'))
    with pytest.raises(BadInput, match="another VAE"):
        load_layers(tmp_path / "a", model)


# Training


def test_the_loss_is_the_plain_error_of_both_halves(model):
    network = LayerNetwork(model, 3, mask_input=0.0, rank=2)
    z = drawn(1, 2, 8, 16, 16)
    pool = LayerPool(z.half(), lambda i, rng: ("everything", PROMPTS[:2]))
    training = LayerTraining(model, network, {2: pool}, batch=1, gamma=0.0)
    with torch.no_grad():
        errors = training.errors(z, ["everything"], [PROMPTS[:2]], torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)
    noise, t = torch.randn(2, 8, 16, 16, generator=generator), int(torch.rand(1, generator=generator) * 1000)
    alpha, sigma = model.scheduler.alphas_cumprod[t].sqrt(), (1 - model.scheduler.alphas_cumprod[t]).sqrt()
    found = said(model, network, alpha * z[0] + sigma * noise, t)["cond"]
    for name, part in (("image", slice(0, 4)), ("mask", slice(4, 8))):
        wanted = (found[name].noise - noise[:, part]).square().mean((1, 2, 3))
        torch.testing.assert_close(errors[name], wanted, rtol=1e-4, atol=1e-6)
    loss, told = training.loss(0, torch.Generator().manual_seed(1))
    assert set(told) == {"image", "mask"}
    loss.backward()
    assert network.inter[0].to_out.weight.grad.any() and network.enhancer.to_out.weight.grad.any()
    assert network.embedding.background.grad.any()


def test_training_runs_compares_and_leaves_the_base_alone(mini, tmp_path):
    recipe = LayerDiff(scenes=2, batch=1, rank=1, layers=(2,), shared_first=0.5, compare=True, levels=(0.95, 0.3))
    before = {name: value.clone() for name, value in mini.denoiser.state_dict().items()}
    assert recipe.fit(mini, None, Budget(steps=2), folder=tmp_path, progress=False).steps == 2
    full, about = load_layers(tmp_path / "adapter", mini)
    plain, _ = load_layers(tmp_path / "adapter" / "baseline", mini)
    assert about["steps"] == {"first": 1, "layers": 1, "baseline": 1} and len(full.inter) and not len(plain.inter)
    assert all(torch.equal(value, before[name]) for name, value in mini.denoiser.state_dict().items())


def test_a_users_folder(model, tmp_path):
    from diffolio.models.images import save_image

    given, place = scene(2), tmp_path / "one"
    place.mkdir()
    save_image(given.images[0], place / "0.png")
    save_image(given.images[1], place / "1.png", given.masks[0, 0])
    (place / "prompts.txt").write_text("everything\na table\na red ball\n")
    (read,) = layer_folder(tmp_path)
    assert read.prompts == ["a table", "a red ball"] and torch.allclose(read.masks, given.masks, atol=0.01)
    assert torch.allclose(read.images[1][:, 100:], torch.tensor(0.7), atol=0.01), "empty areas are grey, not what lies behind"
    (pool,) = picture_stacks(model, [read], (0.0, 1.0)).values()
    assert pool.latents.shape == (1, 2, 8, 16, 16) and pool.texts(0, random.Random(0))[0] == "everything"
    (place / "prompts.txt").write_text("everything\na table\na red ball\na box\n")
    with pytest.raises(BadInput, match=r"2\.png"):
        layer_folder(tmp_path)


# What is refused


def test_bad_layers(model, layered):
    with pytest.raises(BadInput, match="as many for all"):
        read_texts(model, ["a", "b"], [["x", "y"], ["z"]])
    with pytest.raises(BadInput, match="trained for up to 3"):
        layered.sample("everything", PROMPTS[:4], **SAMPLING)
    image, mask = torch.rand(3, 128, 128), torch.zeros(1, 128, 128)
    with pytest.raises(BadInput, match="fixed layers"):
        layered.sample("everything", PROMPTS[:2], fixed={2: (image, mask)}, **SAMPLING)
    with pytest.raises(BadInput, match="without a mask"):
        layered.sample("everything", PROMPTS[:2], fixed={1: (image, None)}, **SAMPLING)
    with pytest.raises(BadInput, match="L - 1 masks"):
        LayeredPictures(torch.rand(3, 3, 8, 8), torch.zeros(3, 1, 8, 8), "x", PROMPTS[:3])
    pool = LayerPool(torch.zeros(1, 2, 10, 16, 16), lambda i, rng: ("", PROMPTS[:2]))
    with pytest.raises(BadInput, match="VAE gives 4"):
        LayerTraining(model, layered.network, {2: pool})


def test_empty_layers_are_told(layered):
    empty = (torch.full((3, 128, 128), 0.7), torch.zeros(1, 128, 128))
    with pytest.warns(DiffolioWarning, match=r"layer 1 \(a red ball\) is empty"):
        layered.sample("everything", PROMPTS[:2], fixed={1: empty}, **SAMPLING)


@pytest.mark.parametrize(
    "knobs", [{"layers": ()}, {"levels": (0.5, 0.5)}, {"window": 2}, {"compare": True, "inter_layer": False}, {"smg": -1.0}]
)
def test_bad_knobs(knobs):
    with pytest.raises(BadKnob):
        LayerDiff(**knobs)


# Miniature


def test_registered_and_made_from_words():
    assert get("layerdiff") is LayerDiff
    assert make("layerdiff", {"layers": "2,3", "smg": "0.5"}) == LayerDiff(smg=0.5)


def test_the_bundled_masks_fit_their_layers(mini):
    """One picture, few steps: where the mask is, the layer differs from the grey around it."""
    layered = LayerDiff().load(mini)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = layered.sample(
            "a red circle left of a blue star", ["a white background", "a red circle", "a blue star"], steps=8, smg=0.0
        )
    grey = one.images[1:].flatten(2).median(-1).values[..., None, None]
    away = (one.images[1:] - grey).abs().amax(1, keepdim=True)
    inside, outside = ((away * w).sum() / w.sum().clamp_min(1) for w in (one.masks, 1 - one.masks))
    assert float(inside) > 1.5 * float(outside)
    place = miniatures.adapter("layerdiff")
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < 8 * 2**20


def test_a_run_shows_every_layer(mini):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = LayerDiff(smg=0.0).run(Job(mini, ["a red circle"], steps=1))
    assert {"background", "layer 1", "mask 1", "layerdiff", "layers that do not see each other"} == set(result.images)
    assert result.alphas["layer 1"].shape == (64, 64) and "overlap" in result.numbers
