"""transformers' Mask2Former with random weights says the same as ours, and learns the same."""

from __future__ import annotations

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from mask2former.convert.huggingface import from_huggingface
from mask2former.loss.criterion import Criterion
from mask2former.loss.matcher import Matcher
from mask2former.loss.sampling import RandomPoints, UncertainPoints
from mask2former.masks import resize
from mask2former.model.backbone import TimmBackbone
from mask2former.model.mask2former import Mask2Former
from mask2former.model.msdeformattn import MSDeformAttnPixelDecoder
from mask2former.model.position import picture_position
from mask2former.model.queries import LearnableQueries
from mask2former.model.swin import Swin
from mask2former.model.transformer_decoder import MaskedTransformerDecoder, MaskHead
from mask2former.structures import Targets

pytestmark = pytest.mark.oracle

DIM, CLASSES, QUERIES, LAYERS, POINTS = 64, 5, 7, 4, 128
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def resnet_config():
    return transformers.ResNetConfig(
        embedding_size=64, hidden_sizes=[256, 512, 1024, 2048], out_features=STAGES
    )


def swin_config():
    return transformers.SwinConfig(
        embed_dim=32,
        depths=[2, 2, 3, 2],
        num_heads=[1, 2, 4, 8],
        window_size=7,
        drop_path_rate=0.0,
        out_features=STAGES,
    )


BACKBONES = {
    "resnet50": (resnet_config, lambda: TimmBackbone("resnet50")),
    "swin": (swin_config, lambda: Swin(32, (2, 2, 3, 2), (1, 2, 4, 8), drop_path=0.0)),
}


def build_theirs(backbone_config):
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone_config,
        feature_size=DIM,
        mask_feature_size=DIM,
        hidden_dim=DIM,
        encoder_feedforward_dim=96,
        encoder_layers=2,
        decoder_layers=LAYERS + 1,  # theirs counts the predictions
        num_attention_heads=4,
        dim_feedforward=128,
        dropout=0.0,
        num_queries=QUERIES,
        num_labels=CLASSES,
        train_num_points=POINTS,
        output_auxiliary_logits=True,
    )
    return transformers.Mask2FormerForUniversalSegmentation(config).eval()


def build_ours(backbone: nn.Module) -> Mask2Former:
    decoder = MaskedTransformerDecoder(
        LearnableQueries(QUERIES, DIM),
        num_classes=CLASSES,
        position=picture_position,
        dim=DIM,
        mask_head=MaskHead([DIM] * 4),
        heads=4,
        layers=LAYERS,
        feedforward=128,
    )
    pixel_decoder = MSDeformAttnPixelDecoder(
        backbone.channels, dim=DIM, mask_dim=DIM, layers=2, heads=4, feedforward=96
    )
    ours = Mask2Former(backbone, pixel_decoder, decoder, mean=(0, 0, 0), std=(1, 1, 1))
    return ours.eval()


def randomise(model: nn.Module) -> None:
    """Move every parameter and statistic off its initial value, so that none can be mixed up."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer += 0.1 * torch.randn(buffer.shape, generator=generator)
            if name.endswith("running_var"):
                buffer *= 0.5 + torch.rand(buffer.shape, generator=generator)


@pytest.fixture(scope="module", params=sorted(BACKBONES))
def models(request):
    """Their model and ours with the same weights."""
    torch.manual_seed(0)
    config, backbone = BACKBONES[request.param]
    theirs, ours = build_theirs(config()), build_ours(backbone())
    randomise(theirs)
    ours.load_state_dict(from_huggingface(theirs.state_dict()))
    return theirs, ours


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Strided maps of 24 x 40 to 3 x 5: no multiple of the window of 7."""
    return torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(1))


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    """Equal but for `tolerance` times the largest value (at least 1)."""
    scale = theirs.abs().max().clamp(min=1.0).item()
    torch.testing.assert_close(ours, theirs, atol=tolerance * scale, rtol=0.0)


def test_saved_files_and_models_in_memory_hold_the_same(models, tmp_path):
    theirs, _ = models
    theirs.save_pretrained(tmp_path)
    saved = from_huggingface(load_file(tmp_path / "model.safetensors"))
    in_memory = from_huggingface(theirs.state_dict())
    assert saved.keys() == in_memory.keys()
    assert all(torch.equal(saved[name], in_memory[name]) for name in saved)


@torch.no_grad()
def test_features_agree(models, images):
    theirs, ours = models
    expected = theirs.model.pixel_level_module(images, output_hidden_states=True)
    features = ours.backbone(images)
    for level, theirs_level in zip(features.values(), expected.encoder_hidden_states, strict=True):
        close(level, theirs_level, 2e-5)
    mask_features, pyramid = ours.pixel_decoder(features)
    close(mask_features, expected.decoder_last_hidden_state, 2e-5)
    for level, theirs_level in zip(pyramid.values(), expected.decoder_hidden_states, strict=True):
        close(level, theirs_level, 2e-5)


@torch.no_grad()
def test_predictions_agree(models, images):
    theirs, ours = models
    expected = theirs(images)
    expected = [*expected.auxiliary_logits, expected]
    predictions = ours(images)
    assert len(predictions) == len(expected) == LAYERS + 1
    for layer, (prediction, truth) in enumerate(zip(predictions, expected, strict=True)):
        logits = prediction.mask_logits().squeeze(2)
        # A flipped bit of the attention mask would excuse a later difference; none is expected.
        size = [(3, 5), (6, 10), (12, 20)][layer % 3]
        inside, truth_inside = (
            resize(maps, size).sigmoid() >= 0.5 for maps in (logits, truth["masks_queries_logits"])
        )
        assert (inside != truth_inside).sum() == 0, f"attention bits flipped in layer {layer}"
        close(prediction.class_logits, truth["class_queries_logits"], 1e-4)
        close(logits, truth["masks_queries_logits"], 1e-4)


def test_attention_masks_are_put_to_the_test(models, images):
    with torch.no_grad():
        inside = [p.mask_logits().sigmoid() >= 0.5 for p in models[1](images)]
    share = torch.stack(inside).float().mean()
    assert 0.1 < share < 0.9


def draw_same_points(*shape: int, device=None, generator=None) -> Tensor:
    """In place of torch.rand: points that depend on their number alone, the same for every mask."""
    count = shape[1]
    points = torch.empty(count, 2).uniform_(generator=torch.Generator().manual_seed(count))
    return points.repeat(shape[0], 1, 1)


def make_targets() -> list[Targets]:
    ids = torch.zeros(2, 1, 1, 96, 160, dtype=torch.int32)
    ids[0, ..., 10:60, 20:70] = 1
    ids[0, ..., 50:96, 90:150] = 2
    ids[0, ..., :33, 100:] = 3
    ids[1, ..., 30:90, 40:133] = 1
    return [Targets(ids[0], torch.tensor([4, 0, 4])), Targets(ids[1], torch.tensor([2]))]


def test_losses_and_gradients_agree(models, images, monkeypatch):
    theirs, ours = models
    targets = make_targets()
    masks = [
        (target.ids[0] == torch.arange(1, len(target.labels) + 1)[:, None, None]).float()
        for target in targets
    ]
    labels = [target.labels for target in targets]
    monkeypatch.setattr(torch, "rand", draw_same_points)
    expected = theirs(images, mask_labels=masks, class_labels=labels)
    terms = theirs.criterion(
        expected.masks_queries_logits,
        expected.class_queries_logits,
        masks,
        labels,
        expected.auxiliary_logits,
    )
    criterion = Criterion(Matcher(sampler=RandomPoints(POINTS)), sampler=UncertainPoints(POINTS))
    losses = criterion(ours(images), targets)
    assert len(losses) == len(terms) == 3 * (LAYERS + 1)
    for name, value in terms.items():
        name = name.replace("cross_entropy", "ce")
        weight = 2.0 if "ce" in name.split("_") else 5.0
        close(losses[name], weight * value, 1e-4)
    total = torch.stack(list(losses.values())).sum()
    close(total, expected.loss.squeeze(), 1e-4)
    assert_gradients_agree(theirs, ours, expected.loss.sum(), total)


def assert_gradients_agree(theirs, ours, their_loss: Tensor, our_loss: Tensor) -> None:
    their_loss.backward()
    our_loss.backward()
    zero = {name: torch.zeros_like(p) for name, p in theirs.named_parameters()}
    given = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    expected = from_huggingface(zero | given)
    for name, parameter in ours.named_parameters():
        error = (parameter.grad - expected[name]).norm() / expected[name].norm().clamp(min=1e-3)
        # ReLU and bilinear sampling have kinks, where rounding picks the side.
        assert error < 1e-2, f"the gradient of {name} differs by {error:.1%}"
