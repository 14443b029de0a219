"""Camera paths over pictures and pictures along a flow."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.geometry.camera_paths import follow, leaves, random_path, still_path
from diffolio.geometry.warping import fetch
from diffolio.metrics.temporal import warp_error
from diffolio.worlds.motion import Motion, Script, film
from diffolio.worlds.tabletop import Scene, Thing


def script(motion="right", what=0.5):
    scene = Scene((Thing("circle", "red", 0.5, 0.5, 0.3),), "cream")
    return Script(scene, (Motion(motion, what),), length=4)


def test_camera_paths_stay_inside_and_are_smooth():
    paths = [random_path(8, torch.Generator().manual_seed(i), zoom=(0.5, 1.0), turn=40, shear=0.3) for i in range(200)]
    assert max(float(leaves(path).max()) for path in paths) < 1e-6
    steps = torch.stack([path.diff(dim=0).abs().amax((1, 2)) for path in paths])
    assert steps.max() < 0.35
    ramp = torch.linspace(-1, 1, 200).view(1, 1, -1).expand(3, 50, -1)
    zoomed = follow(ramp, still_path(2, 0.5), 20)
    assert zoomed[1, 0, 3, [0, -1]].tolist() == pytest.approx([-0.475, 0.475], abs=0.01)


def test_fetching_along_a_flow_and_the_warp_error():
    picture = torch.arange(20.0).view(1, 1, 4, 5)
    flow = torch.zeros(1, 2, 4, 5)
    flow[:, 0] = 1
    assert torch.equal(fetch(picture, flow)[..., :-1], picture[..., 1:])
    with pytest.raises(BadInput, match="along a flow"):
        fetch(picture, flow[:, :1])
    clip = film(script("down", 0.4))
    error = warp_error(clip.frames, clip.flow, clip.occluded)
    assert error < 1e-3
    flicker = clip.frames + 0.2 * torch.tensor([0.0, 1, 0, 1])[:, None, None, None]
    assert warp_error(flicker, clip.flow, clip.occluded) == pytest.approx(0.04 + float(error), abs=2e-3)
