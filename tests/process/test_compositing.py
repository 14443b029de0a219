"""Compositing: what is copied is copied bit for bit, what moves moves by whole cells, and each sample by its own."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.metrics.seam import seam
from diffolio.process.compositing import Window, centre, dilate, flip_about, over, scale_about, shift, to_grid
from diffolio.process.layers import Layer, fuse, pan, prepare, zoom_out


def picture(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def block(height=16, width=24, top=4, left=6, h=4, w=8):
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, top : top + h, left : left + w] = True
    return mask


def test_a_window_counts_whole_steps():
    assert [s for s in range(10) if Window(0.2, 0.5).holds(s, 10)] == [2, 3, 4]
    assert [s for s in range(10) if Window(0.0, 0.5, later=1).holds(s, 10)] == [1, 2, 3, 4]
    assert not any(Window(0.0, 0.0).holds(s, 10) for s in range(10))
    with pytest.raises(BadInput, match="shares"):
        Window(0.0, 1.5)


def test_over_dilate_and_grids():
    a, b, mask = picture(1, 3, 16, 24), picture(1, 3, 16, 24) + 1, block()
    laid = over(a, b, mask[:, None])
    assert torch.equal(laid[..., mask[0]], b[..., mask[0]]) and torch.equal(laid[..., ~mask[0]], a[..., ~mask[0]])
    torch.testing.assert_close(over(a, b, mask[:, None].float() / 2), torch.lerp(a, b, mask[:, None].float() / 2))
    assert torch.equal(dilate(mask, 2), block(top=2, left=4, h=8, w=12)) and torch.equal(dilate(mask, 0), mask)
    assert torch.equal(to_grid(mask, (8, 12))[:, 0], block(8, 12, 2, 3, 2, 4)), "not square"
    torch.testing.assert_close(to_grid(mask, (2, 2), "area").flatten(), torch.tensor([24.0, 8.0, 0.0, 0.0]).div(96)[[0, 1, 2, 3]])


def test_a_shift_is_by_each_samples_own_cells_and_brings_zeros():
    x = picture(2, 3, 5, 7)
    moved = shift(x, torch.tensor([[2, -1], [0, 0]]))
    assert torch.equal(moved[1], x[1])
    assert torch.equal(moved[0, :, :4, 2:], x[0, :, 1:, :5])
    assert not moved[0, :, 4].any() and not moved[0, :, :, :2].any()
    assert not shift(x, torch.full((2, 2), 9)).any()


def test_scaling_and_mirroring_keep_the_centre():
    mask = block()
    at = centre(mask)
    assert at.tolist() == [[10.0, 6.0]]
    for factor in (0.5, 1.5):
        scaled, inside = scale_about(mask[:, None].float(), factor, at)
        found = (scaled > 0.5) & inside
        assert abs(int(found.sum()) - 32 * factor**2) <= 10
        assert (centre(found[:, 0]) - at).abs().max() <= 1
    assert torch.equal(flip_about(mask[:, None], "both", at)[:, 0], mask)
    x = picture(1, 3, 16, 24)
    assert torch.equal(
        flip_about(flip_about(x, "horizontal", torch.tensor([[12.0, 8.0]])), "horizontal", torch.tensor([[12.0, 8.0]])), x
    )


def test_layers_are_laid_in_order_and_what_was_not_touched_stays():
    images, size = picture(1, 3, 16, 24), (8, 12)
    first = prepare(Layer(block(), (0.25, 0.0)), images, size, lambda m: m)
    second = prepare(Layer(block(), torch.tensor([[0.25, 0.125]])), images, size, lambda m: m)
    assert first.cells.tolist() == [[3, 0]] and second.cells.tolist() == [[3, 1]]
    back, one, two = torch.zeros(1, 4, *size), torch.ones(1, 4, *size), torch.full((1, 4, *size), 2.0)
    fused = fuse(back, [one, two], [first, second])
    assert (fused[:, :, 2, 6:10] == 1).all() and (fused[:, :, 3:5, 6:10] == 2).all() and fused.count_nonzero() == 4 * 3 * 4
    with pytest.raises(BadInput, match="out of the picture"):
        prepare(Layer(block(), (1.0, 0.0)), images, size, lambda m: m)
    with pytest.raises(BadInput, match="empty"):
        prepare(Layer(torch.zeros_like(block())), images, size, lambda m: m)


def test_pan_and_zoom_keep_context_and_name_the_border():
    x = picture(1, 3, 16, 24)
    moved, border = pan(x, 0.25, 0.0)
    assert torch.equal(moved[..., 6:], x[..., :18]) and torch.equal(moved[..., :6], x[..., :6])
    assert border[..., :6].all() and not border[..., 6:].any()
    smaller, border = zoom_out(x, 0.5)
    assert int((~border).sum()) == 8 * 12 and torch.equal(smaller[:, :, border[0]], x[:, :, border[0]])


def test_a_seam_is_seen_where_there_is_one():
    mask = block()
    smooth = torch.linspace(0, 1, 24).expand(1, 3, 16, 24).clone()
    pasted = torch.where(mask[:, None], 1 - smooth, smooth)
    noisy = picture(1, 3, 16, 24)
    # A ramp goes only to the right, so that its border differs from its band by the share of vertical neighbours.
    assert abs(float(seam(smooth, mask))) < 0.03 and abs(float(seam(noisy, mask))) < 0.15
    assert seam(pasted, mask) > seam(smooth, mask) + 0.2
    assert torch.allclose(seam(mask[:, None].expand(-1, 3, -1, -1).float(), mask), torch.ones(1))
    with pytest.raises(BadInput, match="no border"):
        seam(smooth, torch.ones_like(mask))
