"""The shading networks at their start, what reaches them, and patches in the place of a VAE."""

import torch
from diffusers import AutoencoderKL

from diffolio.geometry.shading import n_dot_l, normals_of, sun
from diffolio.models.vae import Autoencoder
from diffolio.nets.patch_autoencoder import PatchAutoencoder
from diffolio.nets.shading import FAR, UNIT, GeometryNet, Hourglass, ShadingNetwork, geometry_loss, shading_loss
from diffolio.worlds.solids.lit import lit_scenes


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ShadingNetwork()


def test_before_training_it_is_n_dot_l_times_marched_shadow_and_already_sees_shadows():
    data, net = lit_scenes(6, 992_000), network()
    with torch.no_grad():
        shaded = net(data.depth, data.light[:, 0])
    facing = n_dot_l(normals_of(data.depth), data.light[:, 0])
    torch.testing.assert_close(shaded.direct, facing * shaded.shadow)
    truth = data.direct[:, 0].float() / 255
    assert (shaded.direct - truth).square().mean() < 0.8 * (facing - truth).square().mean()
    assert shaded.shadow.min() >= 0 and shaded.shadow.max() <= 1 and shaded.shadow.min() < 0.2
    assert (shaded.place - shaded.meant).nan_to_num().abs().mean() < 2.5


def test_gradients_reach_every_part_and_sky_is_no_number_in_the_loss():
    data, net = lit_scenes(3, 992_001), network()
    loss, told = shading_loss(net(data.depth, data.light[:, 0], data.rgb[:, 0].float() / 255), data.direct[:, 0].float() / 255)
    loss.backward()
    assert torch.isfinite(loss) and set(told) == {"shading", "depth"}
    # What ends in zeros lets its last layer move first.
    for part in (net.density[-1], net.shading[-1], net.refinement.head):
        assert part.weight.grad.abs().sum() > 0
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_the_volume_is_scale_free():
    data, net = lit_scenes(2, 992_002), network()
    with torch.no_grad():
        a, b = net(data.depth, sun(30.0, 50.0)[None].expand(2, 3)), net(3 * data.depth, sun(30.0, 50.0)[None].expand(2, 3))
    torch.testing.assert_close(a.direct, b.direct, atol=1e-4, rtol=1e-4)


def test_before_training_the_depth_is_a_planes_and_sky_is_infinite():
    net = GeometryNet()
    with torch.no_grad():
        depth = net(torch.rand(1, 3, 16, 24))
        assert depth.shape == (1, 16, 24) and torch.isfinite(depth[0, -1]).all()
        disparity = UNIT / depth[0, -4:, 0]
        torch.testing.assert_close(disparity.diff(), disparity.diff()[:1].expand(3), atol=1e-4, rtol=1e-4)
        net.plane[0] = FAR - 1
        assert torch.isinf(net(torch.rand(1, 3, 16, 16))).all()


def test_the_geometry_loss_is_least_at_the_truth():
    depth = lit_scenes(2, 992_003).depth
    true = torch.where(torch.isfinite(depth), UNIT / depth, 0.0)
    best, bent = geometry_loss(true, depth)[0], geometry_loss(true + 0.05 * torch.rand_like(true), depth)[0]
    assert best < 1e-3 < bent


def test_an_hourglass_keeps_sizes():
    assert Hourglass(4, 2)(torch.rand(2, 4, 24, 40)).shape == (2, 2, 24, 40)


def test_patches_lose_nothing_and_answer_as_an_autoencoder(tmp_path):
    vae, images = PatchAutoencoder(4), torch.rand(2, 3, 16, 24)
    codec = Autoencoder(vae, 4)
    latents = codec.encode(images, False, None)
    assert latents.shape == (2, 48, 4, 6) and codec.channels == 48
    torch.testing.assert_close(codec.decode(latents), images)
    assert 2 ** (len(vae.config.block_out_channels) - 1) == 4
    assert {"encode", "decode"} <= set(dir(AutoencoderKL)) & set(dir(vae))
