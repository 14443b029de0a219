"""A discriminator on frozen features: what it sees, what gets gradients, another backbone, the bundled one."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.nets.feature_discriminator import FeatureDiscriminator, VisionFeatures
from diffolio.process.adversarial import discriminator_loss, generator_loss, r1_penalty


@pytest.fixture(scope="module")
def tower():
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=32, patch_size=8
        )
    )


def test_features_are_the_patches_as_a_map(tower):
    features = VisionFeatures(tower, layers=(0, 3))
    x = torch.rand(2, 3, 32, 32)
    states = tower(pixel_values=x * 2 - 1, output_hidden_states=True).hidden_states
    made = features(x)
    assert [tuple(f.shape) for f in made] == [(2, 16, 4, 4)] * 2
    torch.testing.assert_close(made[1][1, :, 2, 3], states[3][1, 1 + 2 * 4 + 3])
    assert VisionFeatures(tower).layers == (2, 3, 4)
    with pytest.raises(BadInput, match="4 blocks"):
        VisionFeatures(tower, layers=(5,))


def test_it_learns_to_tell_and_tells_the_generator(tower):
    discriminator = FeatureDiscriminator(VisionFeatures(tower), width=16, probe=32)
    real, fake = torch.rand(4, 3, 40, 40) * 0.3, 0.7 + torch.rand(4, 3, 40, 40) * 0.3
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        loss = discriminator_loss(discriminator(real), discriminator(fake))
        loss.backward()
        optimizer.step()
    assert loss < 1.0  # 2 before
    assert all(p.grad is None for p in tower.parameters())
    made = fake.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(generator_loss(discriminator(made)), made)
    assert gradient.any()
    (r1_penalty(discriminator, real)).backward()
    assert not any("tower" in name for name in discriminator.state_dict())


def test_any_backbone_of_maps_serves():
    convolution = torch.nn.Conv2d(3, 6, 3, stride=2).requires_grad_(False)
    discriminator = FeatureDiscriminator(lambda images: [images, convolution(images)], width=8)
    logits = discriminator(torch.rand(2, 3, 16, 16))
    assert [tuple(x.shape) for x in logits] == [(2, 1, 16, 16), (2, 1, 7, 7)]
    with pytest.raises(BadInput, match="list of features"):
        FeatureDiscriminator(lambda images: [images.mean()])


def test_the_bundled_eyes():
    from diffolio import miniatures
    from diffolio.training.gan import bundled_discriminator

    if "mini-clip-a" not in miniatures.available():
        pytest.skip("mini-clip-a is not here")
    logits = bundled_discriminator()(torch.rand(1, 3, 64, 64))
    assert [tuple(x.shape) for x in logits] == [(1, 1, 8, 8)] * 3
