"""AID: the equations against a reference, the ends untouched, restored afterwards, on the architectures users have."""

import pytest
import torch

from diffolio.errors import BadInput, Conflict, Unsupported
from diffolio.methods.editing.aid import AID, between, blended
from diffolio.models import Model
from diffolio.results import Job
from tests.models.tiny import tiny_sd, tiny_sd3, tiny_sdxl

PROMPTS = ("a red fish", "a blue house")


def mean_difference(a, b):
    return (a - b).flatten(1).abs().mean(1)


def reference(q, k, v, c, kind, fused):
    """One sample, one head at a time, in float64."""
    out = []
    for i in range(1, len(q) - 1):
        heads = []
        for h in range(q.shape[1]):

            def attend(keys, values, i=i, h=h):
                if fused:
                    keys, values = torch.cat([k[i, h], keys]), torch.cat([v[i, h], values])
                return torch.softmax(q[i, h] @ keys.T / q.shape[-1] ** 0.5, -1) @ values

            if kind == "inner":
                heads.append(attend((1 - c[i]) * k[0, h] + c[i] * k[-1, h], (1 - c[i]) * v[0, h] + c[i] * v[-1, h]))
            else:
                heads.append((1 - c[i]) * attend(k[0, h], v[0, h]) + c[i] * attend(k[-1, h], v[-1, h]))
        out.append(torch.stack(heads))
    return torch.stack(out)


@pytest.mark.parametrize("kind", ["outer", "inner"])
@pytest.mark.parametrize("fused", [True, False])
def test_the_equations(kind, fused):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(5, 2, n, 4, generator=generator).double() for n in (7, 6, 6))
    c = torch.linspace(0, 1, 5).double()
    torch.testing.assert_close(between(q, k, v, c, kind, fused), reference(q, k, v, c, kind, fused))


def test_attending_twice_to_oneself_is_attending_once():
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, 2, 6, 4, generator=generator).expand(3, -1, -1, -1) for _ in range(3))
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    for kind in ("outer", "inner"):
        torch.testing.assert_close(between(q, k, v, torch.tensor([0, 0.4, 1.0]), kind), plain[1:-1])


@pytest.mark.parametrize("build", [tiny_sd, tiny_sdxl])
def test_the_ends_are_the_plain_pictures_and_the_middle_is_not(build):
    model = Model(build())
    ends = tuple(torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(i)) for i in range(2))
    options = {"steps": 2, "latents": ends, "distance": mean_difference}
    ours = AID(images=4, spacing="uniform", warmup=1.0).interpolate(model, *PROMPTS, **options)
    plain = AID(images=4, spacing="uniform", warmup=0.0).interpolate(model, *PROMPTS, **options)
    assert torch.equal(ours.images[[0, -1]], plain.images[[0, -1]])
    assert (mean_difference(ours.images[1:-1], plain.images[1:-1]) > 1e-5).all()
    for prompt, noise, image in zip(PROMPTS, ends, ours.images[[0, -1]], strict=True):
        alone = model.sample(prompt, latents=noise, steps=2).images[0]
        torch.testing.assert_close(alone, image, atol=1e-4, rtol=0)
    assert ours.places == pytest.approx((0, 1 / 3, 2 / 3, 1)) and len(ours.gaps) == 3


def test_equal_ends_give_equal_pictures():
    model = Model(tiny_sd())
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    made = AID(images=3, spacing="uniform").interpolate(
        model, PROMPTS[0], PROMPTS[0], latents=(noise, noise), steps=3, distance=mean_difference
    )
    torch.testing.assert_close(made.images[1], made.images[0], atol=1e-4, rtol=0)
    assert made.as_dict()["smoothness"] <= 1


def test_only_the_conditional_row_and_only_the_first_steps_change():
    model = Model(tiny_sd())
    seen = {}

    def watch(site, out):
        seen.setdefault((site.path, site.step), []).append(out.clone())

    condition = blended(model, *PROMPTS, (0.0, 0.5, 1.0))
    latents = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    for method in (AID(warmup=0.5), AID(warmup=0.0)):
        with method.on(model), model.seams.attention(output=watch):
            model.sample(condition=condition, latents=latents, steps=4, guidance_scale=4.0)
    first = min(path for path, _ in seen)
    ours, plain = seen[first, 0]
    assert torch.equal(ours[:3], plain[:3]), "the unconditional row"
    assert torch.equal(ours[[3, 5]], plain[[3, 5]]), "the ends"
    assert not torch.equal(ours[4], plain[4]), "the middle"
    with AID(warmup=0.5).on(model):
        changed = []
        inner = model.seams.attention(output=lambda site, out: changed.append(site.step))
        with inner:
            model.sample(condition=condition, latents=latents, steps=4)
    assert set(changed) == {0, 1, 2, 3}


def test_neutral_and_leaving_restore_bit_for_bit():
    model = Model(tiny_sd())
    prompts = [*PROMPTS, "a green tree"]
    plain = model.sample(prompts, steps=2).images
    with AID().neutral().on(model):
        assert torch.equal(model.sample(prompts, steps=2).images, plain)
    with AID().on(model):
        assert not torch.equal(model.sample(prompts, steps=2).images, plain)
    with pytest.raises(RuntimeError, match="stop"), AID().on(model):
        raise RuntimeError("stop")
    assert torch.equal(model.sample(prompts, steps=2).images, plain)


def test_a_guide_takes_the_middle():
    model = Model(tiny_sd())
    guided = blended(model, *PROMPTS, (0.0, 0.5, 1.0), "a purple star")["cond"]["encoder_hidden_states"]
    own = model.condition([PROMPTS[0], "a purple star", PROMPTS[1]])["cond"]["encoder_hidden_states"]
    torch.testing.assert_close(guided, own)
    half = blended(model, *PROMPTS, (0.0, 0.5, 1.0))["cond"]["encoder_hidden_states"]
    torch.testing.assert_close(half[1], (own[0] + own[2]) / 2)


@pytest.mark.parametrize("spacing", ["beta", "explore"])
def test_spacings_give_as_many_pictures_as_asked(spacing):
    made = AID(images=4, explored=5, spacing=spacing).interpolate(Model(tiny_sd()), *PROMPTS, steps=1, distance=mean_difference)
    assert made.images.shape[0] == len(made.places) == 4
    assert made.places[0] == 0 and made.places[-1] == 1


def test_what_cannot_be_done_says_so():
    model = Model(tiny_sd())
    with pytest.raises(BadInput, match="--prompt twice"):
        AID().run(Job(model, ["a red fish"]))
    with pytest.raises(BadInput, match="ascending"):
        AID().sample(model, *PROMPTS, (0.0, 0.7, 0.2, 1.0), (torch.zeros(1, 4, 16, 16),) * 2, 0, 1, None)
    with pytest.raises(Unsupported, match="unet"):
        AID().interpolate(Model(tiny_sd3()), *PROMPTS)
    with pytest.raises(Conflict, match="aid"), AID().on(model), AID(kind="inner").on(model):
        pass
