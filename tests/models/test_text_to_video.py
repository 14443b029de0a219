"""ModelScope's text-to-video pipeline behind the handle: its own samples, any length, predictions, and what is refused."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.models import Model
from diffolio.process.sampling import generators
from tests.models.video import tiny_text_to_video

PROMPTS = ["a red circle moving left", "a tree"]


@pytest.fixture(scope="module")
def model():
    return Model(tiny_text_to_video())


def test_a_sample_is_the_pipelines_own(model):
    assert (model.architecture, model.frames, model.channels) == ("text_to_video", 16, 4)
    assert {"video", "unet3d"} <= model.kinds
    assert "unet" not in model.kinds
    told = []
    size = {"height": 64, "width": 64}
    got = model.sample(
        PROMPTS, seed=3, steps=2, guidance_scale=4, frames=3, **size, progress=lambda done, steps: told.append((done, steps))
    )
    want = model.pipeline(
        PROMPTS, guidance_scale=4, num_inference_steps=2, num_frames=3, generator=generators(3, 2), output_type="latent", **size
    ).frames
    assert got.images.shape == (2, 3, 3, 64, 64)
    assert torch.allclose(got.latents, want, atol=1e-5)
    assert told == [(1, 2), (2, 2)]


def test_seams_see_its_rows_and_frames(model):
    condition, z = model.condition(PROMPTS), torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = model.predict(z, 500, condition, guidance_scale=3.0).raw
        seen = []

        def look(call, outputs):
            seen.append((call.rows, call.samples, outputs["cond"].shape))

        with model.seams.denoiser(after=look):
            watched = model.predict(z, 500, condition, guidance_scale=3.0).raw
    assert torch.equal(plain, watched)
    assert seen == [(("uncond", "cond"), 2, (2, 4, 3, 8, 8))]


def test_what_cannot_be_made_is_refused(model):
    with pytest.raises(BadInput, match="T, h, w"):
        model.sample(PROMPTS, latents=torch.zeros(2, 4, 8, 8), steps=1)
    with pytest.raises(BadInput, match="multiples of"):
        model.sample(PROMPTS, height=60, width=64, steps=1)
