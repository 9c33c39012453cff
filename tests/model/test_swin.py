import pytest
import torch

from mask2former.model.swin import (
    BLOCKED,
    Block,
    PatchMerging,
    Swin,
    from_windows,
    relative_position_index,
    shift_mask,
    to_windows,
)

SIZES = {
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 27_520_698),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24), 7, 48_838_602),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 86_880_376),
    "large": (192, (2, 2, 18, 2), (6, 12, 24, 48), 12, 195_201_204),
}


def tiny_swin() -> Swin:
    return Swin(8, (2, 2, 2, 2), (1, 2, 2, 4), window=4).eval()


@pytest.mark.parametrize("size", SIZES)
def test_swin_has_the_published_number_of_parameters(size):
    dim, depths, heads, window, expected = SIZES[size]
    with torch.device("meta"):
        swin = Swin(dim, depths, heads, window=window)
    assert sum(parameter.numel() for parameter in swin.parameters()) == expected
    assert swin.channels == {4: dim, 8: 2 * dim, 16: 4 * dim, 32: 8 * dim}


def test_swin_has_the_official_parameter_names():
    names = set(tiny_swin().state_dict())
    block = {
        f"layers.2.blocks.1.{part}.{kind}"
        for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for kind in ("weight", "bias")
    }
    assert block | {"layers.2.blocks.1.attn.relative_position_bias_table"} == {
        name for name in names if name.startswith("layers.2.blocks.1.")
    }
    assert {
        "patch_embed.proj.weight",
        "patch_embed.norm.bias",
        "norm0.weight",
        "norm3.bias",
    } < names
    assert {name for name in names if "layers.0.downsample" in name} == {
        "layers.0.downsample.norm.weight",
        "layers.0.downsample.norm.bias",
        "layers.0.downsample.reduction.weight",
    }
    assert not any("layers.3.downsample" in name for name in names)


@torch.no_grad()
def test_swin_gives_normalised_maps_at_four_strides():
    features = tiny_swin()(torch.randn(2, 3, 64, 96))
    assert {s: tuple(x.shape) for s, x in features.items()} == {
        4: (2, 8, 16, 24),
        8: (2, 16, 8, 12),
        16: (2, 32, 4, 6),
        32: (2, 64, 2, 3),
    }
    for x in features.values():
        assert x.mean(1).abs().max() < 1e-5


@torch.no_grad()
def test_swin_treats_the_pictures_of_a_batch_alone():
    swin, images = tiny_swin(), torch.randn(3, 3, 64, 96)
    together, alone = swin(images), swin(images[1:2])
    for stride in (4, 8, 16, 32):
        torch.testing.assert_close(together[stride][1:2], alone[stride], atol=1e-5, rtol=0)


def test_windows_are_put_back_where_they_were():
    x = torch.randn(2, 8, 12, 5)
    windows = to_windows(x, 4)
    assert windows.shape == (2 * 6, 16, 5)
    assert torch.equal(windows[1], x[0, :4, 4:8].reshape(16, 5))
    assert torch.equal(from_windows(windows, 4, (8, 12)), x)


def test_shift_mask_joins_only_old_neighbours():
    height, width, window, shift = 6, 9, 4, 2  # padded to 8 x 12
    place = torch.arange(8 * 12).view(1, 8, 12, 1)
    rolled = to_windows(place.roll((-shift, -shift), dims=(1, 2)), window)[..., 0]
    row, column = rolled // 12, rolled % 12
    # The roll brings the first rows and columns to the other side of the last windows.
    apart = [axis.unsqueeze(2) - axis.unsqueeze(1) for axis in (row, column)]
    wrapped = (apart[0].abs() >= window) | (apart[1].abs() >= window)
    assert torch.equal(shift_mask(height, width, window), wrapped * BLOCKED)


def test_relative_position_index_counts_rows_then_columns():
    index = relative_position_index(3)  # rows of a table of 5 x 5
    assert index.shape == (9, 9)
    assert index[0, 0] == 12  # itself: the middle
    assert index[0, 1] == 11  # one to the left of its neighbour
    assert index[3, 0] == 17  # one row below


def test_patch_merging_orders_columns_before_rows():
    merging = PatchMerging(1)
    order = []
    merging.norm.register_forward_pre_hook(lambda _, inputs: order.append(inputs[0]))
    merging(torch.arange(4.0).view(1, 2, 2, 1))
    assert order[0].flatten().tolist() == [0, 2, 1, 3]


@torch.no_grad()
def test_block_shifts_on_a_map_of_one_window():
    torch.manual_seed(0)
    plain, shifted = Block(8, 2, 4).eval(), Block(8, 2, 4, shift=2).eval()
    shifted.load_state_dict(plain.state_dict())
    x, mask = torch.randn(1, 4, 4, 8), shift_mask(4, 4, 4)
    assert not torch.allclose(plain(x, mask), shifted(x, mask), atol=1e-3)


def test_drop_path_rises_to_the_rate_of_the_last_block():
    rates = [
        b.drop_path.p for stage in Swin(8, (1, 1, 2, 1), (1, 1, 1, 1)).layers for b in stage.blocks
    ]
    assert rates == pytest.approx([0.0, 0.075, 0.15, 0.225, 0.3])


def test_swin_exports_and_still_sees_the_batch():
    swin, images = tiny_swin(), torch.randn(2, 3, 64, 64)
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(swin, (images,), dynamic_shapes=({0: batch},))
    one = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(one)[32], swin(one)[32], atol=1e-5, rtol=0)


@torch.no_grad()
def test_sum_over_the_blocks_stays_in_fp32_under_autocast():
    """As in the official code: in half precision small changes would get lost in large sums."""
    torch.manual_seed(0)
    block, x = Block(8, 2, window=4).eval(), torch.randn(1, 8, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = block(x, shift_mask(8, 8, 4))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, block(x, shift_mask(8, 8, 4)), atol=0.02, rtol=0)
