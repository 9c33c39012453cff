"""The video network against the video paper's decoder (2112.10764), written out in loops.

The reference shares only the weights, and the maps of the pixel decoder, which knows no time: it is
asked frame by frame.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mask2former.build import build_model
from mask2former.config import override_config, parse_config
from mask2former.model.mask2former import Mask2Former
from mask2former.model.transformer_decoder import MaskedTransformerDecoder
from mask2former.structures import Prediction

pytestmark = pytest.mark.oracle

DIM, HEADS, CLASSES, HEIGHT, WIDTH = 32, 4, 3, 64, 96
SETTINGS = {
    "model": {
        "dim": DIM,
        "backbone": {"name": "test_efficientnet"},
        "pixel_decoder": {"layers": 1, "feedforward": 32, "heads": 4},
        "transformer_decoder": {
            "layers": 4,  # more than levels: each stride is read, and the first again
            "heads": HEADS,
            "feedforward": 48,
            "num_queries": 7,
            "position": "3d",
        },
    }
}


@pytest.fixture(scope="module")
def network() -> Mask2Former:
    torch.manual_seed(1)
    model = build_model(parse_config(SETTINGS, "the test").model, CLASSES).eval()
    for name, weight in model.transformer_decoder.named_parameters():
        if name.endswith("bias"):  # fresh ones are zero, and would hide a fault
            nn.init.normal_(weight, std=0.3)
        if "mask_head" in name and name.endswith("weight"):  # masks that are partly on
            weight.data *= 3
    return model


def sine_waves(place: float, count: int) -> list[float]:
    """Sine and cosine in turn, with the frequency of index i at 10000^(2 floor(i / 2) / count)."""
    angles = [place / 10000 ** (2 * (i // 2) / count) for i in range(count)]
    return [math.sin(a) if i % 2 == 0 else math.cos(a) for i, a in enumerate(angles)]


def reference_position(frames: int, height: int, width: int) -> Tensor:
    """(T, H, W, C): y and x each fill half of the channels, the time is added to all of them."""
    turn = 2 * math.pi
    place = torch.empty(frames, height, width, DIM)
    for t in range(frames):
        time = torch.tensor(sine_waves((t + 1) / (frames + 1e-6) * turn, DIM))
        for y in range(height):
            down = sine_waves((y + 1) / (height + 1e-6) * turn, DIM // 2)
            for x in range(width):
                across = sine_waves((x + 1) / (width + 1e-6) * turn, DIM // 2)
                place[t, y, x] = torch.tensor(down + across) + time
    return place


def attend(
    block: nn.Module, query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None
) -> Tensor:
    """Post-norm attention of (Q, C) over (S, C), one head and one query at a time."""
    weights, biases = (
        t.chunk(3) for t in (block.attention.in_proj_weight, block.attention.in_proj_bias)
    )
    q, k, v = (
        tokens @ weight.T + bias
        for tokens, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    size = DIM // HEADS
    read = torch.empty_like(q)
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        for row in range(q.shape[0]):
            scores = k[:, part] @ q[row, part] / math.sqrt(size)
            if blocked is not None:
                scores[blocked[row]] = -math.inf
            read[row, part] = scores.softmax(0) @ v[:, part]
    return read @ block.attention.out_proj.weight.T + block.attention.out_proj.bias


def layer_norm(norm: nn.LayerNorm, tokens: Tensor) -> Tensor:
    mean, variance = tokens.mean(1, keepdim=True), tokens.var(1, unbiased=False, keepdim=True)
    return (tokens - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias


def predict(
    decoder: MaskedTransformerDecoder, queries: Tensor, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Class logits (Q, K + 1) and mask logits (Q, T, h, w), frame by frame."""
    normed = layer_norm(decoder.norm, queries)
    classes = normed @ decoder.class_head.weight.T + decoder.class_head.bias
    embedding = normed
    linears = [layer for layer in decoder.mask_head.layers if isinstance(layer, nn.Linear)]
    for number, linear in enumerate(linears):
        embedding = embedding @ linear.weight.T + linear.bias
        if number < len(linears) - 1:
            embedding = embedding.clamp(min=0)
    masks = [torch.einsum("qc,chw->qhw", embedding, frame) for frame in features]
    return classes, torch.stack(masks, dim=1)


def blocked_tokens(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Where a query may not read (Q, T * h * w): off its mask, unless that is off everywhere."""
    frames = [
        F.interpolate(masks[:, t : t + 1], size=size, mode="bilinear", align_corners=False)
        for t in range(masks.shape[1])
    ]
    blocked = torch.cat([frame.sigmoid().flatten(1) < 0.5 for frame in frames], dim=1)
    for row in blocked:
        if row.all():  # over the whole clip, not in one frame
            row[:] = False
    return blocked


def reference(model: Mask2Former, clip: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Every prediction for one clip (T, 3, H, W)."""
    decoder = model.transformer_decoder
    features, pyramids = [], []
    for frame in clip:
        maps = model.backbone(((frame - model.mean) / model.std)[None])
        mask_features, pyramid = model.pixel_decoder(maps)
        features.append(mask_features[0])
        pyramids.append({stride: level[0] for stride, level in pyramid.items()})
    stacked = torch.stack(features)
    queries, position = decoder.queries.content.weight, decoder.queries.position.weight
    found = [predict(decoder, queries, stacked)]
    for number, layer in enumerate(decoder.layers):
        stride = (32, 16, 8)[number % 3]
        height, width = HEIGHT // stride, WIDTH // stride
        level = decoder.level_embed.weight[number % 3]
        frames = [p[stride].permute(1, 2, 0).reshape(-1, DIM) for p in pyramids]
        values = torch.cat(frames) + level
        keys = values + reference_position(len(clip), height, width).reshape(-1, DIM)
        blocked = blocked_tokens(found[-1][1], (height, width))
        blocks = dict(layer.named_children())
        read = attend(blocks["cross"], queries + position, keys, values, blocked)
        queries = layer_norm(blocks["cross"].norm, queries + read)
        placed = queries + position
        read = attend(blocks["self"], placed, placed, queries, None)
        queries = layer_norm(blocks["self"].norm, queries + read)
        ffn = blocks["ffn"]
        hidden = (queries @ ffn.linear1.weight.T + ffn.linear1.bias).clamp(min=0)
        said = hidden @ ffn.linear2.weight.T + ffn.linear2.bias
        queries = layer_norm(ffn.norm, queries + said)
        found.append(predict(decoder, queries, stacked))
    return found


def draw_clips(batch: int, frames: int) -> Tensor:
    draw = torch.Generator().manual_seed(frames)
    return torch.rand(batch, frames, 3, HEIGHT, WIDTH, generator=draw) * 255


@pytest.mark.parametrize("frames", [1, 2, 3])
@torch.no_grad()
def test_every_prediction_of_a_clip_is_the_papers(network: Mask2Former, frames: int) -> None:
    clips = draw_clips(2, frames)
    found: list[Prediction] = network(clips)
    for number, clip in enumerate(clips):
        expected = reference(network, clip)
        assert len(found) == len(expected) == 5
        on = (expected[-1][1] > 0).float().mean()
        assert 0.05 < on < 0.95, "masks that are all on or all off would test no masking"
        for ours, (classes, masks) in zip(found, expected, strict=True):
            torch.testing.assert_close(ours.class_logits[number], classes, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(ours.mask_logits()[number], masks, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_time_is_told_only_from_the_second_frame_on(network: Mask2Former) -> None:
    """A time that all tokens share cancels in the softmax: a picture gets the picture's answer."""
    config = override_config(
        parse_config(SETTINGS, "the test"), ["model.transformer_decoder.position=2d"]
    )
    timeless = build_model(config.model, CLASSES).eval()
    timeless.load_state_dict(network.state_dict())
    differences = [
        (network(clip)[-1].class_logits - timeless(clip)[-1].class_logits).abs().max()
        for clip in (draw_clips(1, 1), draw_clips(1, 3))
    ]
    assert differences[0] < 1e-5
    assert differences[1] > 1e-3
