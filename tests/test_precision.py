"""Under autocast, what must stay in fp32 does: pixel decoder, positions, matching, losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mask2former.build import build_model
from mask2former.config import parse_config
from mask2former.loss import criterion as losses
from mask2former.loss.criterion import Criterion
from mask2former.loss.matcher import Matcher
from mask2former.loss.sampling import RandomPoints, UncertainPoints
from mask2former.masks import sample
from mask2former.model.mask2former import Mask2Former
from mask2former.model.position import clip_position, picture_position, pixel_position
from mask2former.structures import Prediction, Targets

TINY = {
    "dim": 32,
    "backbone": {"kind": "swin", "embed_dim": 8, "depths": [1] * 4, "heads": [1] * 4, "window": 4},
    "pixel_decoder": {"layers": 1, "heads": 4, "points": 2, "feedforward": 32},
    "transformer_decoder": {"layers": 2, "heads": 4, "feedforward": 32, "num_queries": 6},
}


@pytest.fixture(scope="module")
def network() -> Mask2Former:
    torch.manual_seed(0)
    return build_model(parse_config({"model": TINY}, "test").model, 4).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 64) * 255


@pytest.fixture
def targets() -> list[Targets]:
    ids = torch.arange(64).div(22, rounding_mode="floor").int().expand(1, 1, 64, 64)
    return [Targets(ids, torch.tensor([0, 1])), Targets(ids, torch.tensor([3, 2]))]


@pytest.fixture
def criterion() -> Criterion:
    return Criterion(matcher=Matcher(sampler=RandomPoints(64)), sampler=UncertainPoints(64))


@pytest.fixture
def half() -> Iterator[None]:
    """What accelerate does in training with `precision=bf16`."""
    with torch.autocast("cpu", torch.bfloat16):
        yield


def dtypes_made(modules: list[nn.Module], network: Mask2Former, images: Tensor) -> set:
    """The types of what some modules give in a forward of the network."""
    found: set[torch.dtype] = set()

    def note(module: nn.Module, given: Any, made: Any) -> None:
        found.update(leaf.dtype for leaf in tree_leaves(made))

    hooks = [module.register_forward_hook(note) for module in modules]
    network(images)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.usefixtures("half")
def test_autocast_reaches_backbone_and_transformer_decoder(network, images):
    linear = [network.backbone.patch_embed.proj, network.transformer_decoder.class_head]
    assert dtypes_made(linear, network, images) == {torch.bfloat16}


@pytest.mark.usefixtures("half")
def test_pixel_decoder_stays_in_fp32(network, images):
    parts = list(network.pixel_decoder.modules())
    assert dtypes_made(parts, network, images) == {torch.float32}


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize("position", [picture_position, clip_position, pixel_position])
def test_positions_stay_in_fp32(position):
    cpu = torch.device("cpu")
    made = position(2, 6, 8, 8, 32, cpu)
    assert made.dtype == torch.float32
    with torch.autocast("cpu", enabled=False):
        assert torch.equal(made, position(2, 6, 8, 8, 32, cpu))


@pytest.mark.usefixtures("half")
def test_half_precision_maps_are_read_at_exact_places():
    ramp = torch.arange(128.0).expand(1, 1, 2, 128).to(torch.bfloat16)
    points = torch.stack([(torch.arange(128) + 0.5) / 128, torch.full((128,), 0.5)], -1)[None]
    read = sample(ramp, points)
    assert read.dtype == torch.bfloat16
    assert torch.equal(read[0, 0], ramp[0, 0, 0])


def test_matching_and_losses_stay_in_fp32(network, images, targets, criterion, monkeypatch):
    seen: list[Tensor] = []

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            made = original(*args, **kwargs)
            seen.extend(leaf for leaf in tree_leaves(made) if leaf.is_floating_point())
            return made

        monkeypatch.setattr(owner, name, call)

    watch(losses, "sample")
    for method in ("class_terms", "sample_pairs", "mask_terms"):
        watch(Criterion, method)
    watch(Matcher, "costs")
    with torch.autocast("cpu", torch.bfloat16):
        predictions = network(images)
        assert predictions[-1].mask_embeddings.dtype == torch.bfloat16
        terms = criterion(predictions, targets, seeds=[1, 2])
    assert len(seen) > 4
    assert {tensor.dtype for tensor in [*seen, *terms.values()]} == {torch.float32}


def test_autocast_around_the_loss_changes_nothing(network, images, targets, criterion):
    predictions = network(images)
    plain = criterion(predictions, targets, seeds=[1, 2])
    with torch.autocast("cpu", torch.bfloat16):
        inside = criterion(predictions, targets, seeds=[1, 2])
    assert plain == inside


def total(predictions: list[Prediction], targets: list[Targets], criterion: Criterion) -> Tensor:
    return torch.stack(list(criterion(predictions, targets, seeds=[1, 2]).values())).sum()


def test_half_precision_loss_is_near_the_exact_one(network, images, targets, criterion):
    exact = total(network(images), targets, criterion)
    with torch.autocast("cpu", torch.bfloat16):
        predictions = network(images)
    near = total(predictions, targets, criterion)
    torch.testing.assert_close(near, exact, rtol=0.02, atol=0.0)


def test_half_precision_gradients_are_finite_and_near(network, images, targets, criterion):
    def gradient() -> Tensor:
        network.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            predictions = network(images)
        total(predictions, targets, criterion).backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    precision = torch.float32
    exact = gradient()
    precision = torch.bfloat16
    near = gradient()
    assert torch.isfinite(near).all()
    assert torch.cosine_similarity(near, exact, dim=0) > 0.95
