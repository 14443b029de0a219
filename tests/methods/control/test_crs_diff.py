"""CRS-Diff: what is dropped in training, conditions by name, metadata in people's units, and that it works on Stable Diffusion's layout."""

import json
import random
import warnings

import numpy as np
import pytest
import torch

from diffolio import miniatures
from diffolio.claims.control import crs_diff as claim
from diffolio.errors import BadInput, BadKnob, DiffolioError, UnknownName
from diffolio.methods.control.crs_diff import ADAPTER, CLOUDS, DROP, PYRAMID, SINGLES, STEPS, CRSDiff
from diffolio.metrics.aerial import followed
from diffolio.miniatures.earth_base import EarthBase, load_base
from diffolio.models import DiffolioWarning, Model
from diffolio.models.aerial import AerialControl, condition_pictures, metadata_from, normalised
from diffolio.models.controlled import control_adapter
from diffolio.models.fingerprint import fingerprint
from diffolio.models.images import save_image
from diffolio.nets.condition_encoders import FeaturePyramid, liven
from diffolio.registry import get
from diffolio.results import Job
from diffolio.training.aerial import AerialPictures, aerial_folder
from diffolio.training.control import ControlTraining
from diffolio.training.loop import Budget
from diffolio.worlds.earth import CONDITIONS, METADATA, Mixture, conditions, held_out, render
from tests.models.tiny import tiny_sd

BUNDLED = ("road", "depth", "segmentation")


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def made_up(n=4, names=tuple(DROP), size=64, content=12):
    """Pictures of noise; the condition of each is the picture itself, so that one can be told from the other."""
    rgb = (255 * rand(n, 3, size, size)).byte()
    metadata = 0.5 + 0.5 * rand(n, len(METADATA), seed=1)
    embedded = rand(n, content, seed=2) if content else None
    return AerialPictures(rgb, dict.fromkeys(names, rgb), lambda i, rng: f"a town {i}", metadata, embedded)


def trained_a_little(adapter):
    """Zero convolutions away from zero, as training would have them."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapter.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return adapter.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def base():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return EarthBase().model()


@pytest.fixture(scope="module")
def aerial(base):
    adapter = control_adapter(base, CRSDiff().config(base, 12))
    return AerialControl(base, trained_a_little(adapter))


@pytest.fixture(scope="module")
def sd():
    return Model(tiny_sd(), name="tiny-sd")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A whole training of a few steps."""
    folder = tmp_path_factory.mktemp("crs")
    recipe = CRSDiff(conditions="road", scenes=2, batch=1, compare=True, rate=1e-3)
    return folder, recipe, recipe.fit(None, made_up(2, ("road", "segmentation")), Budget(steps=8), folder=folder, progress=False)


def batch_of(base, recipe, n, size=64):
    return recipe.batches(base, made_up(size=size), recipe.config(base, 12))(n, torch.Generator().manual_seed(0))


# Exact ------------------------------------------------------------------------------------------------------------------


def test_each_condition_field_and_the_text_are_dropped_as_often_as_the_paper_says(base):
    _, captions, seen, more = batch_of(base, CRSDiff(), 2000, size=8)
    kept = {name: (x.amax((1, 2, 3)) > 0).float().mean().item() for name, x in seen.items()}
    assert list(seen) == list(DROP) == list(CONDITIONS)
    for name, p in DROP.items():
        assert kept[name] == pytest.approx(0.1 + 0.8 * (1 - p), abs=0.04), name
    together = torch.stack([x.amax((1, 2, 3)) > 0 for x in seen.values()])
    chance = 0.8 * 0.4 * 0.5**5
    assert together.all(0).float().mean() == pytest.approx(0.1 + chance, abs=0.03), "all of them in a tenth"
    assert (~together.any(0)).float().mean() == pytest.approx(0.1 + 0.8 * 0.6 * 0.5**5, abs=0.03), "none in a tenth"
    for column in more["metadata"].values():
        assert (column > 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert more["content_kept"].float().mean() == pytest.approx(0.5, abs=0.05)
    assert sum(not c for c in captions) / len(captions) == pytest.approx(0.5, abs=0.05)


def test_what_is_seen_belongs_to_the_picture_and_mirrors_with_it(base):
    latents, captions, seen, more = batch_of(base, CRSDiff(keep_all=1.0, drop_all=0.0, textless=0.0), 16)
    pictures, data = base.decode(latents), made_up()
    assert torch.allclose(seen["road"], pictures, atol=1e-5)
    index = [int(caption.split()[-1]) for caption in captions]
    straight = data.rgb[index].float() / 255
    turned = (straight - pictures).abs().amax((1, 2, 3)) > 1e-3
    assert turned.any() and not turned.all() and torch.allclose(straight[turned].flip(3), pictures[turned], atol=1e-5)
    assert torch.equal(more["content"], data.content[index])
    assert torch.equal(more["metadata"]["gsd"], data.metadata[index, METADATA.index("gsd")])


def test_metadata_is_what_scenes_say_of_themselves():
    scene = held_out(1)[0]
    raw = {name: getattr(scene, name) for name in METADATA}
    assert tuple(float(x) for x in normalised(raw).values()) == pytest.approx(scene.metadata)
    assert metadata_from("cloud_cover=0.3, month = 6") == {"cloud_cover": 0.3, "month": 6.0} and metadata_from("") == {}


def test_the_shapes_are_the_released_ones():
    pyramid = FeaturePyramid(18, PYRAMID, 8)
    convolutions = [m for m in pyramid.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in pyramid.stem if isinstance(m, torch.nn.Conv2d)] == [32, 64, 64, 128, 128]
    assert [m.stride[0] for m in pyramid.stem if isinstance(m, torch.nn.Conv2d)] == [1, 2, 1, 2, 1]
    assert convolutions[0].in_channels == 18
    found = [tuple(f.shape) for f in pyramid(rand(1, 18, 128, 128))]
    assert found == [(1, 192, 16, 16), (1, 256, 8, 8), (1, 384, 4, 4), (1, 512, 2, 2)]
    assert all(not end.weight.any() for end in pyramid.ends)


def test_a_condition_is_not_lost_on_its_way_at_the_start(base):
    adapter, x = control_adapter(base, CRSDiff().config(base, 0)), made_up().rgb.float().repeat(1, 6, 1, 1) / 255
    contrast = lambda: adapter.pyramid.levels[0](adapter.pyramid.stem(x)).std((2, 3)).mean().item()  # noqa: E731
    with torch.no_grad():
        before = contrast()
        liven(adapter.pyramid)
        assert contrast() > 10 * before and all(not end.weight.any() for end in adapter.pyramid.ends)


def test_a_picture_follows_where_its_roads_classes_and_clouds_are_right():
    scenes = held_out(6, mixture=Mixture(road=1.0, cloudy=1.0, cover=(0.1, 0.3), months=(6, 7)))
    drawn, cover = render(scenes), torch.tensor([s.cloud_cover for s in scenes])
    true = followed(drawn.images, drawn, cover)
    assert true.joint().mean() > 0.6 and true.road.mean() > 0.6
    other = followed(drawn.images.roll(1, 0), drawn, cover)
    assert other.road.mean() < 0.5 * true.road.mean() and other.joint().sum() == 0
    white = followed(torch.full_like(drawn.images, 0.96), drawn, cover)
    assert white.joint().sum() == 0, "hiding the ground is no way to be right"


# Conditions -------------------------------------------------------------------------------------------------------------


def test_conditions_go_by_name_whatever_their_order(aerial):
    told = {name: rand(1, 3, 64, 64, seed=i) for i, name in enumerate(DROP)}
    backwards = dict(reversed(told.items()))
    pictures = [aerial.sample(["a town"], steps=2, **given) for given in (told, backwards)]
    assert torch.equal(*pictures)
    swapped = {**told, "road": told["depth"], "depth": told["road"]}
    assert not torch.equal(aerial.sample(["a town"], steps=2, **swapped), pictures[0])
    assert CRSDiff(conditions="depth, road").names == ("road", "depth")


def test_bad_conditions_metadata_and_content_are_named(aerial, base):
    with pytest.raises(UnknownName, match="seg"), aerial.on(seg=rand(1, 3, 64, 64)):
        base.sample(["a town"], steps=1)
    with pytest.raises(BadInput, match="bring them to one"):
        aerial.sample(["a town"], road=rand(1, 3, 64, 64), depth=rand(1, 3, 32, 32))
    with pytest.raises(BadInput, match="road of shape"), aerial.on(road=rand(1, 3, 32, 32)):
        base.sample(["a town"], steps=1)
    with pytest.raises(BadInput, match="road of shape"), aerial.on(road=rand(1, 1, 64, 64)):
        base.sample(["a town"], steps=1)
    with pytest.raises(BadInput, match="month=14.*give 0 to 12"), aerial.on(metadata={"month": 14}):
        pass
    with pytest.raises(BadInput, match="cloud_cover"), aerial.on(metadata={"cloud_cover": -0.1}):
        pass
    with pytest.raises(UnknownName, match="cloud_cover"), aerial.on(metadata={"clouds": 0.3}):
        pass
    with pytest.raises(BadInput, match=r"takes \(B, 12\)"), aerial.on(content=rand(1, 7)):
        base.sample(["a town"], steps=1)
    with pytest.raises(BadInput, match="embeddings of 12 numbers"):
        aerial.embed(rand(1, 3, 64, 64))
    with pytest.raises(UnknownName, match="roads"):
        CRSDiff(conditions="roads,depth")
    with pytest.raises(BadInput, match="name=number"):
        metadata_from("cloudy")
    with pytest.raises(UnknownName, match="lake"):
        condition_pictures({"lake": rand(3, 8, 8)}, BUNDLED, 64, 64)
    with pytest.raises(BadKnob, match="keep_all"):
        batch_of(base, CRSDiff(keep_all=0.6, drop_all=0.6), 1)
    with pytest.raises(BadInput, match="no condition depth"):
        CRSDiff(conditions="road,depth", base="given").fit(base, made_up(2, ("road",)), Budget(steps=1), folder="unused-crs")


def test_nothing_said_at_all_is_allowed_with_a_warning(aerial):
    with pytest.warns(DiffolioWarning, match="neither a prompt nor a segmentation"):
        aerial.sample([""], steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aerial.sample([""], steps=1, segmentation=rand(1, 3, 64, 64))


def test_a_folder_of_pictures_with_conditions_metadata_and_embeddings(tmp_path):
    (tmp_path / "road").mkdir()
    for i in range(2):
        save_image(rand(3, 64, 64, seed=i), tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text("a town")
    with pytest.raises(BadInput, match="holds no condition"):
        aerial_folder(tmp_path, 64, ("road",))
    save_image(torch.ones(3, 64, 64), tmp_path / "road" / "1.png")
    (tmp_path / "0.json").write_text(json.dumps({"month": 6}))
    found = aerial_folder(tmp_path, 64, ("road", "depth"))
    assert found.content is None and not found.conditions["road"][0].any() and (found.conditions["road"][1] == 255).all()
    assert found.metadata[0, METADATA.index("month")] == 0.5 and not found.metadata[1].any()
    assert found.caption(0, random.Random(0)) == "a town"
    np.save(tmp_path / "0.npy", np.ones(5, np.float32))
    with pytest.raises(BadInput, match="1 of 2 pictures have no content"):
        aerial_folder(tmp_path, 64, ("road",))


# Training ---------------------------------------------------------------------------------------------------------------


def test_a_training_writes_all_parts_equal_steps_and_goes_on(small):
    folder, recipe, trained = small
    record = json.loads((folder / "export" / "training.json").read_text())
    steps = record["steps"]
    assert list(steps) == [*STEPS, *SINGLES] and trained.steps == sum(steps.values())
    assert all(steps[name] == max(1, steps[ADAPTER] // 3) for name in SINGLES)
    loaded = CRSDiff.load(folder)
    assert loaded.adapter.config.metadata == METADATA and tuple(loaded.adapter.config.conditions) == ("road",)
    again = recipe.fit(None, made_up(2, ("road", "segmentation")), Budget(steps=8), folder=folder, resume=True, progress=False)
    assert again.steps == trained.steps
    with pytest.raises(DiffolioError, match="resume"):
        recipe.fit(None, made_up(2, ("road", "segmentation")), Budget(steps=8), folder=folder, progress=False)
    with pytest.raises(BadInput, match="no base of crs_diff"):
        load_base(folder)
    with pytest.raises(BadInput, match="without a base"):
        CRSDiff.load(folder / "road")


def test_gradients_reach_every_part_of_the_adapter_and_never_the_base(base):
    recipe = CRSDiff(keep_all=1.0, drop_all=0.0)
    config = recipe.config(base, 12)
    adapter, before = trained_a_little(control_adapter(base, config)).requires_grad_(True), fingerprint(base.denoiser)
    objective = ControlTraining(base, adapter, recipe.batches(base, made_up(), config), batch=2)
    objective.loss(0, torch.Generator().manual_seed(0))[0].backward()
    for part in ("pyramid", "content", "metadata"):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(adapter, part).parameters()), part
    assert adapter.trunk.down_blocks[0].resnets[0].norm1.scale.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in base.denoiser.parameters()) and fingerprint(base.denoiser) == before


# Real architecture ------------------------------------------------------------------------------------------------------


def test_stable_diffusions_layout_untouched_before_training_followed_after_restored_on_exit(sd):
    config = CRSDiff().config(sd, 768)
    assert config.inject == (0, 1, 2, 3) and config.channels == 18
    adapter = control_adapter(sd, config)
    told = {name: rand(1, 3, 128, 128, seed=i) for i, name in enumerate(DROP)}
    options = {"seed": 7, "steps": 3, "guidance_scale": 7.5}
    plain, hooks = sd.sample(["a red box"], **options).latents, len(sd.denoiser.time_embedding._forward_hooks)
    fresh = AerialControl(sd, adapter.eval().requires_grad_(False))
    with fresh.on(metadata={"month": 6}, **told):
        assert torch.equal(sd.sample(["a red box"], **options).latents, plain)
    trained_a_little(adapter)
    lengths, keys = [], sd.denoiser.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k
    hook = keys.register_forward_pre_hook(lambda m, args: lengths.append(args[0].shape[1]))
    with fresh.on(metadata={"month": 6}, content=rand(1, 768), **told):
        changed = sd.sample(["a red box"], **options).latents
    hook.remove()
    assert (changed - plain).abs().max() > 1e-3 and set(lengths) == {sd.pipeline.tokenizer.model_max_length + 4}
    with pytest.raises(RuntimeError, match="stop"), fresh.on(metadata={"month": 6}, **told):
        raise RuntimeError("stop")
    assert torch.equal(sd.sample(["a red box"], **options).latents, plain)
    assert len(sd.denoiser.time_embedding._forward_hooks) == hooks


def test_metadata_acts_without_words_and_conditions_act_where_they_are(aerial):
    june, december = (aerial.sample(["a town"], steps=2, metadata={"month": m}) for m in (6, 12))
    assert not torch.equal(june, december), "the same prompt, another month"
    road = torch.zeros(1, 3, 64, 64)
    road[..., :16, :16] = 1
    stack = lambda given: aerial.adapter.stacked(given, (64, 64), 1)  # noqa: E731
    with torch.no_grad():
        features = [aerial.adapter.pyramid(stack(given))[0] for given in ({"road": road}, {})]
    gap = (features[0] - features[1]).abs().sum(1)[0]
    assert gap[:4, :4].min() > 0 and gap[8:, 8:].max() == 0, "features of the condition are kept in their places"


# Miniature --------------------------------------------------------------------------------------------------------------


def test_the_bundled_adapter_follows_the_road_and_runs():
    bundled = CRSDiff.load()
    assert tuple(bundled.adapter.config.conditions) == BUNDLED and bundled.adapter.config.content == 64
    scenes = held_out(4, 955_000, Mixture(road=1.0, cloudy=0.0, months=(6, 7)))
    drawn = render(scenes)
    told = {name: x for name, x in conditions(drawn).items() if name in BUNDLED}
    prompts = [scene.caption for scene in scenes]
    made = bundled.sample(prompts, steps=8, guidance=2.0, metadata={"cloud_cover": 0.0, "month": 7}, **told)
    plain = bundled.model.sample(prompts, steps=8, guidance_scale=2.0).images
    zero = torch.zeros(4)
    assert followed(made, drawn, zero).road.mean() > 1.5 * followed(plain, drawn, zero).road.mean()
    result = CRSDiff(metadata="cloud_cover=0.4").run(
        Job(bundled.model, ["a forest"], rand(3, 64, 64), steps=2, inputs={"road": told["road"][0]})
    )
    assert list(result.images) == ["road", "text alone", "crs_diff"] and result.numbers["rms_change_crs_diff"] > 0
    drawn_up = CRSDiff().run(Job(bundled.model, ["a red circle"], steps=2))
    assert "own captions" in drawn_up.report["notes"][-1] and "everything" in drawn_up.images


def test_the_shipped_folder_is_small_and_says_how_it_was_made():
    place = miniatures.adapter("crs_diff")
    assert sum(p.stat().st_size for p in place.rglob("*") if p.is_file()) <= 8e6
    assert "diffolio train crs_diff" in (place / "README.md").read_text()
    record = json.loads((place / "training.json").read_text())
    assert {k: record["knobs"][k] for k in claim.COMMAND} == claim.COMMAND
    assert all(record["steps"][name] == record["steps"][ADAPTER] // 3 for name in SINGLES) and CLOUDS == ("cloud_cover",)
    assert get("crs_diff") is CRSDiff
