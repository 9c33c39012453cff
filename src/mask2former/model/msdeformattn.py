"""MSDeformAttnPixelDecoder: a deformable encoder over strides 32, 16, 8 and one FPN step to 4."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mask2former.model.deformable_attention import DeformableAttention, Shapes
from mask2former.model.kernels.onednn import feed_forward
from mask2former.model.position import Position, picture_position, pixel_centres
from mask2former.tracing import in_fp32


class EncoderLayer(nn.Module):
    """Deformable self-attention, then a feed-forward network, each with its own post-norm."""

    def __init__(self, dim: int, *, heads: int, levels: int, points: int, feedforward: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(dim, heads=heads, levels=levels, points=points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward)
        self.linear2 = nn.Linear(feedforward, dim)
        self.norm2 = nn.LayerNorm(dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, tokens: Tensor, position: Tensor, reference: Tensor, shapes: Shapes
    ) -> Tensor:
        """tokens (N, S, dim), position (S, dim), reference (S, 2) -> (N, S, dim)."""
        read = self.self_attn(tokens, position, reference, shapes)
        # In place, on what nobody else reads: fresh memory costs as much as the sums.
        tokens = self.norm1(read.add_(tokens))
        return self.norm2(feed_forward(tokens, self.linear1, self.linear2).add_(tokens))


class MSDeformAttnPixelDecoder(nn.Module):
    """The paper's pixel decoder (section 3.2.1; table 4e).

    `channels` are the backbone's, by stride; the levels go through the encoder coarse to fine.
    """

    def __init__(
        self,
        channels: dict[int, int],
        *,
        dim: int = 256,
        mask_dim: int = 256,
        layers: int = 6,
        heads: int = 8,
        points: int = 4,
        feedforward: int = 1024,
        strides: Sequence[int] = (32, 16, 8),
        position: Position = picture_position,
    ) -> None:
        super().__init__()
        self.position = position
        self.strides = tuple(strides)
        groups = math.gcd(32, dim)
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels[stride], dim, 1), nn.GroupNorm(groups, dim))
            for stride in self.strides
        )
        self.level_embed = nn.Parameter(torch.empty(len(self.strides), dim))
        self.layers = nn.ModuleList(
            EncoderLayer(
                dim,
                heads=heads,
                levels=len(self.strides),
                points=points,
                feedforward=feedforward,
            )
            for _ in range(layers)
        )
        self.lateral = nn.Sequential(
            nn.Conv2d(channels[4], dim, 1, bias=False), nn.GroupNorm(groups, dim)
        )
        self.smooth = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, bias=False),
            nn.GroupNorm(groups, dim),
            nn.ReLU(inplace=True),
        )
        self.mask_features = nn.Conv2d(dim, mask_dim, 1)
        self.init_weights()

    def init_weights(self) -> None:
        """Xavier for the projections, Kaiming (a = 1) for the FPN step, normal level embeddings."""
        nn.init.normal_(self.level_embed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.input_proj.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, features: dict[int, Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """{stride: (N, C, H/stride, W/stride)} -> mask features at stride 4, pyramid by stride.

        Runs in fp32 under autocast too, as the official implementation does.
        """
        with in_fp32(features[4].device):
            pyramid = self.encode({stride: maps.float() for stride, maps in features.items()})
            finest = pyramid[self.strides[-1]]
            lateral = self.lateral(features[4].float())
            top_down = F.interpolate(finest, lateral.shape[-2:], mode="bilinear")
            return self.mask_features(self.smooth(top_down.add_(lateral))), pyramid

    def encode(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        """Let every pixel of the strided levels look at a few points of all of them."""
        maps = [
            project(features[stride])
            for stride, project in zip(self.strides, self.input_proj, strict=True)
        ]
        shapes = [(level.shape[-2], level.shape[-1]) for level in maps]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
        places = [
            self.position(1, *shape, stride, tokens.shape[-1], tokens.device)[0].flatten(1).T
            for shape, stride in zip(shapes, self.strides, strict=True)
        ]
        position = torch.cat(
            [place + level for place, level in zip(places, self.level_embed, strict=True)]
        )
        reference = torch.cat([pixel_centres(*shape, tokens.device) for shape in shapes])
        for layer in self.layers:
            tokens = layer(tokens, position, reference, shapes)
        levels = tokens.split([height * width for height, width in shapes], dim=1)
        return {
            stride: level.unflatten(1, shape).permute(0, 3, 1, 2)
            for stride, level, shape in zip(self.strides, levels, shapes, strict=True)
        }
