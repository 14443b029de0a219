"""Unconditional pixel models: DDPM and DDIM pipelines behind the same handle."""

import pytest
import torch

from diffolio.claims import combinations
from diffolio.errors import BadInput, Conflict, Unsupported
from diffolio.models import Model, load
from diffolio.process.sampling import generators
from diffolio.registry import get


@pytest.fixture(scope="module")
def pipeline():
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    made = DDIMPipeline(
        unet.eval().requires_grad_(False), DDIMScheduler(beta_schedule="squaredcos_cap_v2", set_alpha_to_one=False)
    )
    made.set_progress_bar_config(disable=True)
    return made


def test_samples_are_the_pipelines_own(pipeline):
    model = Model(pipeline)
    assert (model.architecture, model.factor, model.channels, model.default_size) == ("pixels", 1, 3, 16)
    told = []
    got = model.sample(["", ""], seed=3, steps=4, progress=lambda done, steps: told.append((done, steps)))
    want = pipeline(2, generator=generators(3, 2), num_inference_steps=4, output_type="np").images
    assert torch.allclose(got.images, torch.from_numpy(want).permute(0, 3, 1, 2), atol=1e-6)
    assert told == [(i, 4) for i in range(1, 5)]


def test_it_reads_no_text_and_methods_that_do_refuse_it(pipeline):
    model = Model(pipeline, name="pixels")
    assert not model.reads_text and model.kinds == {"pixels"}
    with pytest.raises(BadInput, match="reads no text"):
        model.sample("a red circle", steps=1)
    with pytest.raises(Unsupported, match=r"attribute_control works on .*DDIMPipeline \(pixels\)"):
        get("attribute_control")().check(model)
    assert combinations.sample(model).shape == (3, 3, 24, 24)


def test_a_sample_depends_on_its_seed_and_not_on_its_batch(pipeline):
    model = Model(pipeline)
    both = model.sample(["", ""], seed=5, steps=2)
    assert torch.allclose(model.sample("", seed=6, steps=2).images, both.images[1:], atol=1e-6)
    assert model.sample("", steps=1, height=32, width=16).images.shape == (1, 3, 32, 16)


def test_pictures_are_their_own_latents(pipeline):
    model = Model(pipeline)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.decode(model.encode(images)), images, atol=1e-6)
    said = model.predict(model.encode(images), 500, model.condition(["", ""]))
    assert said.clean.shape == images.shape


def test_seams_reach_into_it(pipeline):
    model = Model(pipeline)
    seen = []
    plain = model.sample("", steps=2).images
    with model.seams.attention(output=lambda site, out: seen.append((site.kind, site.grid)) or out * 0.5):
        changed = model.sample("", steps=2).images
    assert ("self", (8, 8)) in seen and not torch.equal(plain, changed)
    assert torch.equal(plain, model.sample("", steps=2).images)
    with model.seams.claim("attention", "one"), pytest.raises(Conflict), model.seams.claim("attention", "two"):
        pass


def test_text_is_refused(pipeline):
    with pytest.raises(BadInput, match="reads no text"):
        Model(pipeline).sample("a red ball", steps=1)
    with pytest.raises(BadInput, match="multiples of 2"):
        Model(pipeline).sample("", steps=1, height=15, width=16)


def test_a_ddpm_folder_loads_with_ddim_on_its_schedule(pipeline, tmp_path):
    from diffusers import DDPMPipeline, DDPMScheduler

    DDPMPipeline(pipeline.unet, DDPMScheduler(beta_schedule="squaredcos_cap_v2")).save_pretrained(tmp_path)
    model = load(str(tmp_path))
    assert type(model.scheduler).__name__ == "DDIMScheduler"
    got = model.sample(["", ""], seed=3, steps=4).images
    assert torch.allclose(got, Model(pipeline).sample(["", ""], seed=3, steps=4).images, atol=1e-5)
