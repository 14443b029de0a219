"""Up a flow and down again."""

import pytest
import torch

from diffolio.errors import Unsupported
from diffolio.process.flow_inversion import follow_flow, invert_flow
from tests.models.tiny import tiny_latte, tiny_sd


def test_inverting_a_flow_is_exact_where_the_velocity_does_not_depend_on_the_latents():
    class Straight:
        scheduler = tiny_latte().scheduler

        def predict(self, x, t, condition, guidance_scale=None):
            from diffolio.process.prediction import Prediction

            return Prediction(torch.full_like(x, t / 1000), x, torch.tensor(1.0), torch.tensor(0.0), "flow")

    z = torch.randn(1, 4, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    up = invert_flow(Straight(), z, None, 5)
    torch.testing.assert_close(up - z, torch.full_like(z, 0.6))
    torch.testing.assert_close(follow_flow(Straight(), up, None, 5), z)
    with pytest.raises(Unsupported, match="not of a flow"):
        invert_flow(type("M", (), {"scheduler": tiny_sd().scheduler}), z, None, 5)
