"""The masked-attention transformer decoder (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mask2former.masks import resize
from mask2former.model.kernels.onednn import multiply_add
from mask2former.model.position import Position, pixel_centres
from mask2former.structures import PixelFeatures, Prediction
from mask2former.tracing import in_fp32


class Memory(NamedTuple):
    """What one layer's cross-attention reads: S = T * H * W tokens of one or more strides."""

    keys: Tensor  # (B, S, C)
    values: Tensor  # (B, S, C)
    mask_features: Tensor  # (B, C, S): resized to the tokens' grid, so masks come out there
    places: Tensor  # (S, 2): the tokens' centres, x, y in 0..1 of their frame


AttentionMask = Callable[[Tensor, Memory], Tensor | None]
"""(mask embeddings (B, Q, C), memory) -> which tokens a query may read (B, Q, S), or None: all."""


def inside_own_mask(mask_embeddings: Tensor, memory: Memory) -> Tensor:
    """Masked attention: a query reads where its own last mask is on, or anywhere if it is empty."""
    with torch.no_grad(), in_fp32(mask_embeddings.device):
        logits = mask_embeddings.float() @ memory.mask_features.float()
        inside = logits.sigmoid() >= 0.5
        return inside | ~inside.any(-1, keepdim=True)


def everywhere(mask_embeddings: Tensor, memory: Memory) -> None:
    """Plain cross-attention (table 4c)."""


class Attention(nn.Module):
    """Multi-head attention with the packed input projection that published weights have."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} cannot be divided among {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
        """query (B, Q, C), key and value (B, S, C) -> (B, Q, C).

        `allowed` says where a query may read: (B, Q, S) for all heads alike or (B, heads, Q, S),
        in bool, or in logits that are added to the attention's; None: everywhere.
        """
        q, k, v = self.project(query, key, value)
        mask = None if allowed is None else of_heads(allowed)
        dropout = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(read.transpose(1, 2).flatten(2))

    def project(self, *tokens: Tensor) -> list[Tensor]:
        """The first of query, key and value, each (B, S, C), for every head: (B, heads, S, d)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        return [
            multiply_add(given, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for given, weight, bias in zip(tokens, weights, biases, strict=False)
        ]

    def weigh(self, query: Tensor, key: Tensor, allowed: Tensor | None) -> Tensor:
        """How much of what each query reads comes from each token: (B, heads, Q, S), sums to 1.

        For those who want to see it; `forward` never makes it.
        """
        q, k = self.project(query, key)
        logits = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        if allowed is not None:
            logits = logits + as_logits(of_heads(allowed))
        return logits.softmax(-1)


def of_heads(allowed: Tensor) -> Tensor:
    """Where a query may read, (B, Q, S) or (B, heads, Q, S), as (B, 1 or heads, Q, S)."""
    return allowed if allowed.ndim == 4 else allowed.unsqueeze(1)


def as_logits(allowed: Tensor) -> Tensor:
    """What is added to the attention's logits: 0 where a query may read, else minus infinity."""
    if allowed.dtype != torch.bool:
        return allowed
    return torch.zeros_like(allowed, dtype=torch.float32).masked_fill(~allowed, -torch.inf)


class AttentionBlock(nn.Module):
    """Attention with what surrounds it: dropout, residual, post-norm."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention: nn.Module = Attention(dim, heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)


class CrossAttention(AttentionBlock):
    """Queries read the picture."""

    def forward(
        self, queries: Tensor, position: Tensor, memory: Memory, allowed: Tensor | None
    ) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        read = self.attention(queries + position, memory.keys, memory.values, allowed)
        return self.norm(queries + self.dropout(read))


class SelfAttention(AttentionBlock):
    """Queries read each other."""

    def forward(
        self, queries: Tensor, position: Tensor, memory: Memory, allowed: Tensor | None
    ) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        placed = queries + position
        return self.norm(queries + self.dropout(self.attention(placed, placed, queries, None)))


class FeedForward(nn.Module):
    """Each query for itself."""

    def __init__(self, dim: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, feedforward)
        self.linear2 = nn.Linear(feedforward, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, queries: Tensor, position: Tensor, memory: Memory, allowed: Tensor | None
    ) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        hidden = self.dropout(F.relu(self.linear1(queries)))
        return self.norm(queries + self.dropout(self.linear2(hidden)))


CrossBlock = Callable[[int, int, float], nn.Module]
"""(dim, heads, dropout) -> how queries read the picture: a block that is called as they all are."""


class DecoderLayer(nn.Module):
    """The three blocks of a layer, in the order given (paper: cross, self, ffn; table 4b)."""

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        feedforward: int,
        dropout: float,
        order: Sequence[str],
        cross: CrossBlock = CrossAttention,
    ) -> None:
        blocks: dict[str, nn.Module] = {
            "cross": cross(dim, heads, dropout),
            "self": SelfAttention(dim, heads, dropout),
            "ffn": FeedForward(dim, feedforward, dropout),
        }
        if sorted(order) != sorted(blocks):
            raise ValueError(f"order must name cross, self and ffn once each, not {list(order)}")
        super().__init__()
        for name in order:
            self.add_module(name, blocks[name])

    def forward(
        self, queries: Tensor, position: Tensor, memory: Memory, allowed: Tensor | None
    ) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        for block in self.children():
            queries = block(queries, position, memory, allowed)
        return queries


class MaskHead(nn.Module):
    """Linear layers with ReLU between them: what a query says of its mask."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(sizes):
            layers += [nn.Linear(narrow, wide), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, queries: Tensor, points: Tensor | None = None) -> Tensor:
        """queries (B, Q, C) -> mask embeddings (B, Q, C'), wherever the queries stand."""
        return self.layers(queries)


class MaskedTransformerDecoder(nn.Module):
    """Queries become (class, mask) pairs by reading the pyramid inside their own masks.

    `levels` are the strides that successive layers read, in turn; several strides in one entry are
    read together (table 4d). `attention` decides where a query may look, `cross` is the block that
    looks (tables 4a, 4c).
    """

    def __init__(
        self,
        queries: nn.Module,
        *,
        num_classes: int,
        position: Position,
        dim: int = 256,
        mask_head: nn.Module,
        heads: int = 8,
        layers: int = 9,
        feedforward: int = 2048,
        dropout: float = 0.0,
        levels: Sequence[Sequence[int]] = ((32,), (16,), (8,)),
        order: Sequence[str] = ("cross", "self", "ffn"),
        attention: AttentionMask = inside_own_mask,
        cross: CrossBlock = CrossAttention,
    ) -> None:
        super().__init__()
        self.queries = queries
        self.levels = tuple(tuple(strides) for strides in levels)
        self.position = position
        self.attention_mask = attention
        strides = [stride for level in self.levels for stride in level]
        self.level_index = {stride: index for index, stride in enumerate(dict.fromkeys(strides))}
        self.level_embed = nn.Embedding(len(self.level_index), dim)
        self.layers = nn.ModuleList(
            DecoderLayer(
                dim,
                heads=heads,
                feedforward=feedforward,
                dropout=dropout,
                order=order,
                cross=cross,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.class_head = nn.Linear(dim, num_classes + 1)
        self.mask_head = mask_head

    def forward(self, features: PixelFeatures) -> list[Prediction]:
        """One prediction from the queries as they are, and one after each layer."""
        memories = self.read_levels(features)
        queries, position, points = self.queries(features)
        predictions = [self.predict(queries, points, features)]
        for index, layer in enumerate(self.layers):
            memory = memories[index % len(memories)]
            allowed = self.attention_mask(predictions[-1].mask_embeddings, memory)
            queries = layer(queries, position, memory, allowed)
            predictions.append(self.predict(queries, points, features))
        return predictions

    def predict(
        self, queries: Tensor, points: Tensor | None, features: PixelFeatures
    ) -> Prediction:
        """The prediction heads, shared by all layers."""
        normed = self.norm(queries)
        embeddings = self.mask_head(normed, points)
        return Prediction(self.class_head(normed), embeddings, features.mask_features)

    def read_levels(self, features: PixelFeatures) -> list[Memory]:
        """What successive layers read, in turn."""
        return [self.read(features, strides) for strides in self.levels]

    def read(self, features: PixelFeatures, strides: Sequence[int]) -> Memory:
        """Lay the pixels of some strides out as tokens, frame after frame."""
        memories = []
        for stride in strides:
            maps = features.pyramid[stride]  # (B, T, C, h, w)
            frames, dim, height, width = maps.shape[1:]
            level = self.level_embed.weight[self.level_index[stride]]
            position = self.position(frames, height, width, stride, dim, maps.device)
            values = as_tokens(maps) + level
            keys = values + as_tokens(position.unsqueeze(0))
            masks = resize(features.mask_features, (height, width)).transpose(1, 2).flatten(2)
            places = pixel_centres(height, width, maps.device).repeat(frames, 1)
            memories.append(Memory(keys, values, masks, places))
        if len(memories) == 1:
            return memories[0]
        keys, values, masks, places = zip(*memories, strict=True)
        return Memory(
            torch.cat(keys, 1), torch.cat(values, 1), torch.cat(masks, 2), torch.cat(places)
        )


def as_tokens(maps: Tensor) -> Tensor:
    """(B, T, C, H, W) -> (B, T * H * W, C)."""
    return maps.permute(0, 1, 3, 4, 2).flatten(1, 3)
