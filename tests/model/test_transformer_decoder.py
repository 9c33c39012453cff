"""Masked attention: the attention bits, symmetries of queries and frames, every ablation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mask2former.build import build_model
from mask2former.config import parse_config
from mask2former.masks import resize
from mask2former.model.mask2former import Mask2Former
from mask2former.model.mask_pooling import MaskPooling
from mask2former.model.position import Position, clip_position, picture_position
from mask2former.model.queries import LearnableQueries
from mask2former.model.smca import ModulatedAttention
from mask2former.model.transformer_decoder import (
    Attention,
    CrossAttention,
    DecoderLayer,
    MaskedTransformerDecoder,
    MaskHead,
    Memory,
    everywhere,
    inside_own_mask,
)
from mask2former.structures import PixelFeatures, Prediction

DIM, QUERIES, CLASSES = 32, 6, 4
TINY = {
    "dim": DIM,
    "backbone": {"kind": "swin", "embed_dim": 8, "depths": [1] * 4, "heads": [1] * 4, "window": 4},
    "pixel_decoder": {"layers": 1, "heads": 4, "points": 2, "feedforward": 32},
    "transformer_decoder": {"layers": 3, "heads": 4, "feedforward": 32, "num_queries": QUERIES},
}
SAMPLED = {"queries": {"spacing": 16.0}, "num_queries": 100}  # the default: nobody counts them
ABLATIONS = {
    "default": {},
    "full attention (4a, 4c)": {"attention": "full"},
    "SMCA (4c)": {"attention": "smca"},
    "mask pooling (4c)": {"attention": "mask_pooling"},
    "one scale (4d)": {"levels": [[8]]},
    "naive multi-scale (4d)": {"levels": [[32, 16, 8]]},
    "self-attention first (4b)": {"order": ["self", "cross", "ffn"]},
    "dropout (4b)": {"dropout": 0.1},
    "zero queries (4b, X)": {"queries": "zero"},
    "sampled queries": SAMPLED,
    "clip positions": {"position": "3d"},
    "pixel positions": {"position": "pixels"},
    "no layer": {"layers": 0},
}


def build_tiny(
    *, pixel_decoder: dict = TINY["pixel_decoder"], placed_masks: bool = False, **decoder: object
) -> Mask2Former:
    """The tiny network with some settings of its transformer decoder changed."""
    tree = TINY | {
        "pixel_decoder": pixel_decoder,
        "placed_masks": placed_masks,
        "transformer_decoder": TINY["transformer_decoder"] | decoder,
    }
    return build_model(parse_config({"model": tree}, "test").model, CLASSES)


def random_features(frames: int = 1, batch: int = 2) -> PixelFeatures:
    """Double precision, so that rounding flips no bit of an attention mask."""
    maps = {s: torch.randn(batch, frames, DIM, 64 // s, 96 // s).double() for s in (4, 8, 16, 32)}
    return PixelFeatures(maps.pop(4), maps)


CROSS = {
    "masked": (inside_own_mask, CrossAttention),
    "smca": (everywhere, ModulatedAttention),
    "mask_pooling": (inside_own_mask, MaskPooling),
}


def build_decoder(
    position: Position = picture_position, attention: str = "masked"
) -> MaskedTransformerDecoder:
    allowed, cross = CROSS[attention]
    return MaskedTransformerDecoder(
        LearnableQueries(QUERIES, DIM),
        num_classes=CLASSES,
        position=position,
        dim=DIM,
        mask_head=MaskHead([DIM] * 4),
        heads=4,
        layers=4,
        feedforward=32,
        attention=allowed,
        cross=cross,
    ).double()


def assert_same(ours: list[Prediction], theirs: list[Prediction]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.class_logits, other.class_logits, rtol=0.0, atol=1e-9)
        torch.testing.assert_close(one.mask_logits(), other.mask_logits(), rtol=0.0, atol=1e-9)


def as_memory(mask_features: Tensor) -> Memory:
    tokens = mask_features.flatten(2).transpose(1, 2)
    return Memory(tokens, tokens, mask_features.flatten(2), torch.rand(tokens.shape[1], 2))


@pytest.mark.parametrize("stride", [32, 16, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_attention_bits_are_those_of_the_resized_masks(stride, dtype):
    """Resizing the features once gives the bits of resizing every mask (official order)."""
    decoder = build_decoder().to(dtype)
    mask_features, pyramid = random_features(frames=2)
    features = PixelFeatures(mask_features.to(dtype), {s: m.to(dtype) for s, m in pyramid.items()})
    embeddings = torch.randn(2, 50, DIM, dtype=dtype)
    allowed = inside_own_mask(embeddings, decoder.read(features, [stride]))
    masks = Prediction(embeddings[..., :1], embeddings, features.mask_features).mask_logits()
    small = resize(masks, (64 // stride, 96 // stride)).flatten(2)
    inside = small.sigmoid() >= 0.5
    expected = inside | ~inside.any(-1, keepdim=True)
    differ = allowed != expected
    assert differ.sum() <= (0 if dtype == torch.float64 else 1e-4 * differ.numel())
    assert (small[differ].abs() < 1e-5).all()


def test_masked_attention_with_an_empty_mask_reads_everywhere():
    memory = as_memory(torch.tensor([[[[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]]]]))
    allowed = inside_own_mask(torch.tensor([[[5.0], [-5.0]]]), memory)
    assert allowed[0, 0].tolist() == [True, False, True, False, True, True]
    assert allowed[0, 1].tolist() == [False, True, False, True, False, False]
    nothing = inside_own_mask(torch.tensor([[[-5.0]]]), as_memory(torch.ones(1, 1, 2, 3)))
    assert nothing.all()


def test_masked_attention_of_a_clip_counts_as_empty_only_in_all_frames():
    memory = as_memory(torch.tensor([[[[-1.0, -1.0], [-1.0, 1.0]]]]))  # frame 0, then frame 1
    allowed = inside_own_mask(torch.tensor([[[1.0]]]), memory)
    assert allowed[0, 0].tolist() == [False, False, False, True]


def test_masked_attention_passes_no_gradient_to_the_mask():
    embeddings = torch.randn(1, 3, 4, requires_grad=True)
    allowed = inside_own_mask(embeddings, as_memory(torch.randn(1, 4, 2, 3)))
    assert allowed.dtype == torch.bool
    assert not allowed.requires_grad
    assert everywhere(embeddings, as_memory(torch.randn(1, 4, 2, 3))) is None


def test_attention_equals_torch_multi_head_attention():
    ours, theirs = Attention(DIM, 4), nn.MultiheadAttention(DIM, 4, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    query, key, value = torch.randn(2, 5, DIM), torch.randn(2, 9, DIM), torch.randn(2, 9, DIM)
    allowed = torch.rand(2, 5, 9) < 0.5
    allowed[..., 0] = True
    blocked = ~allowed.repeat_interleave(4, 0)
    expected, _ = theirs(query, key, value, attn_mask=blocked)
    torch.testing.assert_close(ours(query, key, value, allowed), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_positions_are_added_to_queries_and_keys_but_never_to_values():
    queries, position = torch.randn(2, 5, DIM), torch.randn(2, 5, DIM)
    memory = Memory(
        torch.randn(2, 9, DIM), torch.randn(2, 9, DIM), torch.randn(2, DIM, 9), torch.rand(9, 2)
    )
    blocks = DecoderLayer(DIM, heads=4, feedforward=8, dropout=0.0, order=["cross", "self", "ffn"])
    placed = queries + position
    for block, read in (
        (blocks.get_submodule("self"), (placed, placed, queries, None)),
        (blocks.get_submodule("cross"), (placed, memory.keys, memory.values, None)),
    ):
        expected = block.norm(queries + block.attention(*read))
        torch.testing.assert_close(block(queries, position, memory, None), expected)


@torch.no_grad()
def test_memory_adds_the_level_to_keys_and_values_but_the_place_to_keys_alone():
    decoder, features = build_decoder(), random_features(frames=2)
    keys, values, *_ = decoder.read(features, [16])
    level = decoder.level_embed.weight[1]
    tokens = torch.cat([frame.flatten(2) for frame in features.pyramid[16].unbind(1)], -1)
    torch.testing.assert_close(values, tokens.transpose(1, 2) + level)
    place = picture_position(2, 4, 6, 16, DIM, torch.device("cpu")).transpose(0, 1).flatten(1).T
    torch.testing.assert_close(keys - values, place.double().expand(2, -1, -1))


@torch.no_grad()
def test_decoder_gives_a_prediction_before_and_after_every_layer():
    predictions = build_decoder()(random_features(frames=2))
    assert len(predictions) == 5
    for prediction in predictions:
        assert prediction.class_logits.shape == (2, QUERIES, CLASSES + 1)
        assert prediction.mask_logits().shape == (2, QUERIES, 2, 16, 24)


@torch.no_grad()
def test_decoder_reads_the_levels_in_turn():
    """The first layer reads stride 32 alone, so the others cannot change the second prediction."""
    decoder, features = build_decoder(), random_features()
    before = decoder(features)
    features.pyramid[16].add_(1.0 + torch.randn_like(features.pyramid[16]))
    after = decoder(features)
    assert torch.equal(before[1].class_logits, after[1].class_logits)
    assert not torch.allclose(before[2].class_logits, after[2].class_logits)


@torch.no_grad()
def test_tokens_know_their_places_in_every_frame_and_level():
    places = build_decoder().read(random_features(frames=2), [32, 16]).places
    assert places.shape == (2 * (2 * 3 + 4 * 6), 2)
    coarse, fine = places.split([2 * 2 * 3, 2 * 4 * 6])
    assert torch.equal(coarse[:6], coarse[6:])
    for index, (x, y) in enumerate(fine[:24].tolist()):
        assert x == pytest.approx((index % 6 + 0.5) / 6)
        assert y == pytest.approx((index // 6 + 0.5) / 4)


@torch.no_grad()
@pytest.mark.parametrize("attention", CROSS)
def test_permuting_the_queries_permutes_the_outputs(attention):
    decoder, features = build_decoder(attention=attention), random_features()
    before = decoder(features)
    order = torch.randperm(QUERIES)
    for embedding in (decoder.queries.content, decoder.queries.position):
        embedding.weight.copy_(embedding.weight[order].clone())
    moved = [
        Prediction(p.class_logits[:, order], p.mask_embeddings[:, order], p[2]) for p in before
    ]
    assert_same(decoder(features), moved)


@torch.no_grad()
@pytest.mark.parametrize("attention", CROSS)
def test_copies_of_a_frame_are_read_as_the_frame(attention):
    """Without a place in time, T equal frames give the picture's answer in each of them."""
    decoder, (mask_features, pyramid) = build_decoder(attention=attention), random_features()
    copies = {stride: maps.expand(-1, 3, -1, -1, -1) for stride, maps in pyramid.items()}
    clip = decoder(PixelFeatures(mask_features.expand(-1, 3, -1, -1, -1), copies))
    picture = decoder(PixelFeatures(mask_features, pyramid))
    in_every_frame = [
        p._replace(mask_features=mask_features.expand(-1, 3, -1, -1, -1)) for p in picture
    ]
    assert_same(clip, in_every_frame)


@torch.no_grad()
@pytest.mark.parametrize(("position", "knows_time"), [(picture_position, 0), (clip_position, 1)])
def test_only_clip_positions_tell_the_order_of_frames(position, knows_time):
    decoder, (mask_features, pyramid) = build_decoder(position), random_features(frames=3)
    order = [2, 0, 1]
    shuffled = {stride: maps[:, order] for stride, maps in pyramid.items()}
    there = decoder(PixelFeatures(mask_features[:, order], shuffled))[-1].class_logits
    here = decoder(PixelFeatures(mask_features, pyramid))[-1].class_logits
    assert ((there - here).abs().max() > 1e-4) == bool(knows_time)


def assert_learns(model: Mask2Former, *, layers: int, queries: int, unused: tuple = ()) -> None:
    """A clip gives predictions of the right shapes, and gradients to all but `unused`."""
    predictions = model(torch.rand(2, 2, 3, 64, 64) * 255)
    assert len(predictions) == 1 + layers
    assert predictions[-1].class_logits.shape == (2, queries, CLASSES + 1)
    assert predictions[-1].mask_logits().shape == (2, queries, 2, 16, 16)
    outputs = [tensor for p in predictions for tensor in (p.class_logits, p.mask_logits())]
    torch.stack([tensor.square().mean() for tensor in outputs]).sum().backward()
    gradients = {n: p.grad for n, p in model.transformer_decoder.named_parameters()}
    assert not [n for n, g in gradients.items() if g is None and not n.startswith(unused)]
    assert all(g.isfinite().all() for g in gradients.values() if g is not None)


PIXEL_DECODERS = [
    TINY["pixel_decoder"],
    {"kind": "fpn"},
    {"kind": "semantic_fpn", "channels": 16},
    {"kind": "bifpn", "layers": 2},
    {"kind": "fapn"},
]


@pytest.mark.parametrize("pixel_decoder", PIXEL_DECODERS, ids=str)
@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_builds_runs_and_learns(name, pixel_decoder):
    assert_learns(
        build_tiny(pixel_decoder=pixel_decoder, **ABLATIONS[name]),
        layers=ABLATIONS[name].get("layers", 3),
        queries=16 if name == "sampled queries" else QUERIES,
        unused=("level_embed", "queries.position") if name == "no layer" else (),
    )


def test_placed_masks_build_run_and_learn():
    model = build_tiny(placed_masks=True, **SAMPLED)
    assert_learns(model, layers=3, queries=16)


def test_decoder_refuses_an_order_that_misses_a_block():
    with pytest.raises(ValueError, match=r"order=\['cross', 'ffn'\] must name cross, self and"):
        build_tiny(order=["cross", "ffn"])


def test_attention_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="10 cannot be divided among 3"):
        Attention(10, 3)
