"""Swin Transformer (2103.14030) as the published checkpoints need it, with their parameter names.

It pads a map, then rolls it, and never shrinks a window to a small map; timm's does otherwise and
gives other features wherever a map is no multiple of the window. Inside, maps are (N, H, W, C).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from mask2former.model.channels import fit_channels
from mask2former.model.kernels.onednn import feed_forward, gelu
from mask2former.tracing import is_exporting

PATCH = 4
BLOCKED = -100.0  # the published models were trained with this, not with minus infinity


class Swin(nn.Module):
    """Four stages of windowed attention; features at strides 4, 8, 16, 32.

    The defaults are Swin-T. Without a checkpoint the linear layers keep PyTorch's initial values,
    as in the official code.
    """

    def __init__(
        self,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        *,
        window: int = 7,
        drop_path: float = 0.3,
        in_channels: int = 3,
    ) -> None:
        """`drop_path` is the rate of the last block; it rises linearly from 0 at the first."""
        super().__init__()
        widths = [embed_dim * 2**stage for stage in range(len(depths))]
        last = max(sum(depths) - 1, 1)
        rates = iter([drop_path * block / last for block in range(sum(depths))])
        self.channels = {PATCH * 2**stage: width for stage, width in enumerate(widths)}
        self.patch_embed = PatchEmbedding(embed_dim, in_channels)
        self.layers = nn.ModuleList()
        for stage, (width, depth, count) in enumerate(zip(widths, depths, heads, strict=True)):
            blocks = [
                Block(width, count, window, shift=block % 2 * (window // 2), drop_path=next(rates))
                for block in range(depth)
            ]
            self.layers.append(
                Stage(blocks, PatchMerging(width) if stage + 1 < len(depths) else None)
            )
            self.add_module(f"norm{stage}", nn.LayerNorm(width))

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Normalised images (N, 3, H, W) -> stride -> (N, C, H/stride, W/stride)."""
        x = self.patch_embed(images)
        features = {}
        for stage, (stride, layer) in enumerate(zip(self.channels, self.layers, strict=True)):
            x, onward = layer(x)
            norm = getattr(self, f"norm{stage}")
            features[stride] = norm(x).permute(0, 3, 1, 2)
            x = onward
        return features


class PatchEmbedding(nn.Module):
    """Cut the image into 4 x 4 patches and embed each: (N, 3, H, W) -> (N, H/4, W/4, C)."""

    def __init__(self, dim: int, in_channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        images = F.pad(images, (0, -width % PATCH, 0, -height % PATCH))
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class Stage(nn.Module):
    """Blocks of one resolution, and the step to the next; returns the map before and after it."""

    def __init__(self, blocks: Sequence[Block], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.window = blocks[0].window
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = shift_mask(x.shape[1], x.shape[2], self.window, device=x.device)
        for block in self.blocks:
            x = block(x, mask)
        return x, x if self.downsample is None else self.downsample(x)


class PatchMerging(nn.Module):
    """Halve the map and double the channels: (N, H, W, C) -> (N, H/2, W/2, 2C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_to_multiple(x, 2).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        # (N, h, row, w, column, C): the checkpoints count columns before rows.
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.reduction(self.norm(x))


class Block(nn.Module):
    """Attention in (shifted) windows, then an MLP, each with a residual."""

    def __init__(
        self, dim: int, heads: int, window: int, *, shift: int = 0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, 4 * dim)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.drop_path(self.attend(self.norm1(x), mask))
        change = self.drop_path(self.mlp(self.norm2(x)))
        if change.dtype != x.dtype:  # under autocast, where the sum over the blocks stays in fp32
            return x + change
        return change.add_(x)  # fresh memory costs as much as sums

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """Let each pixel see its window: (N, H, W, C) -> (N, H, W, C)."""
        height, width = x.shape[1:3]
        x = pad_to_multiple(x, self.window)
        padded = x.shape[1:3]
        if self.shift == 0:
            x = from_windows(self.attn(to_windows(x, self.window)), self.window, padded)
        else:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
            x = from_windows(self.attn(to_windows(x, self.window), mask), self.window, padded)
            x = x.roll((self.shift, self.shift), dims=(1, 2))
        return x[:, :height, :width]


class MLP(nn.Module):
    """Each pixel for itself."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return feed_forward(x, self.fc1, self.fc2, gelu)


class WindowAttention(nn.Module):
    """Self-attention in each window, with a learned bias for every relative position."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        index = relative_position_index(window)
        self.register_buffer("relative_position_index", index, persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Windows (N * M, L, C) and a mask (M, L, L) to add -> (N * M, L, C)."""
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        bias = bias[None]  # (1, heads, L, L)
        if mask is not None:
            images = windows.shape[0] // mask.shape[0]
            bias = (bias + mask[:, None].to(bias)).repeat(images, 1, 1, 1)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q))
        x = x.transpose(1, 2)
        if is_exporting():  # kernels lay this out each in its way, and a graph is for all of them
            x = x.clone(memory_format=torch.contiguous_format)
        return self.proj(x.flatten(2))


def pad_to_multiple(x: Tensor, size: int) -> Tensor:
    """Add zeros to (N, H, W, C) at the bottom and right until `size` divides H and W."""
    bottom, right = (rounded_up(side, size) - side for side in x.shape[1:3])
    if not is_exporting() and bottom == right == 0:
        return x
    return F.pad(x, (0, 0, 0, right, 0, bottom))


def rounded_up(side: int, size: int) -> int:
    """The smallest multiple; without a remainder, which is hard to reason with where sizes vary."""
    return (side + size - 1) // size * size


def to_windows(x: Tensor, size: int) -> Tensor:
    """Cut (N, H, W, C) into (N * windows, size * size, C)."""
    x = x.unflatten(2, (-1, size)).unflatten(1, (-1, size)).transpose(2, 3)
    return x.flatten(3, 4).flatten(0, 2)


def from_windows(windows: Tensor, size: int, shape: Sequence[int]) -> Tensor:
    """Put the windows back: (N * windows, size * size, C) -> (N, *shape, C)."""
    height, width = shape
    x = windows.reshape(-1, height // size, width // size, size, size, windows.shape[-1])
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def shift_mask(
    height: int, width: int, window: int, *, device: torch.device | None = None
) -> Tensor:
    """Keep apart the pixels that only the roll made neighbours, (windows, L, L) to be added."""
    row, column = (
        _rolled_region(rounded_up(length, window), window, device) for length in (height, width)
    )
    region = to_windows((3 * row[:, None] + column)[None, :, :, None], window)  # (windows, L, 1)
    return (region != region.transpose(1, 2)) * BLOCKED


def _rolled_region(length: int, window: int, device: torch.device | None) -> Tensor:
    """Along one axis after the roll: 0 whole windows, 1 the last places, 2 those from the front."""
    place = torch.arange(length, device=device)
    return (place >= length - window).long() + (place >= length - window // 2).long()


def relative_position_index(window: int) -> Tensor:
    """Which row of the bias table serves which pair of pixels of a window, (L, L)."""
    place = torch.arange(window)
    row, column = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    down, right = (axis[:, None] - axis + window - 1 for axis in (row, column))
    return down * (2 * window - 1) + right


def load_imagenet_tensors(swin: Swin, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load a classifier's tensors under their official names; `source` names them in the error.

    Its head and its masks are left out; the norms of the four outputs, which it has not, stay
    fresh; the patch embedding is fitted to the channels. Raises ValueError where anything else is
    absent or of another shape.
    """
    fresh = {f"norm{level}.{part}" for level in range(4) for part in ("weight", "bias")}
    wanted = {key: tensor for key, tensor in swin.state_dict().items() if key not in fresh}
    embedding = "patch_embed.proj.weight"
    if embedding in tensors:
        tensors = {**tensors, embedding: fit_channels(tensors[embedding], wanted[embedding])}
    for key, tensor in wanted.items():
        if key not in tensors or tensors[key].shape != tensor.shape:
            found = tuple(tensors[key].shape) if key in tensors else "nothing"
            raise ValueError(
                f"{source} does not fit this Swin: for '{key}' of shape {tuple(tensor.shape)} it "
                f"has {found}; give the ImageNet weights of the same size"
            )
    swin.load_state_dict({key: tensors[key] for key in wanted}, strict=False)
