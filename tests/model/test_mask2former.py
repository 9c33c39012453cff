"""The whole network: input contract, published sizes, independence of the batch, export."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mask2former.build import build_model
from mask2former.config import load_config, parse_config
from mask2former.config.recipes import recipe_names
from mask2former.model.mask2former import Mask2Former
from mask2former.structures import PixelFeatures, Prediction

TINY = {
    "dim": 32,
    "backbone": {"kind": "swin", "embed_dim": 8, "depths": [1] * 4, "heads": [1] * 4, "window": 4},
    "pixel_decoder": {"layers": 1, "heads": 4, "points": 2, "feedforward": 32},
    "transformer_decoder": {"layers": 3, "heads": 4, "feedforward": 32, "num_queries": 6},
}


@pytest.fixture(scope="module")
def tiny() -> Mask2Former:
    torch.manual_seed(0)
    return build_model(parse_config({"model": TINY}, "test").model, 4).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 96) * 255


def assert_same(ours: Prediction, theirs: Prediction, tolerance: float = 1e-4) -> None:
    for one, other in (
        (ours.class_logits, theirs.class_logits),
        (ours.mask_logits(), theirs.mask_logits()),
    ):
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, rtol=0.0, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [("coco/panoptic/r50", 43_983_878), ("coco/panoptic/swin_t", 47_435_264)],
)
def test_network_has_the_published_number_of_parameters(recipe, parameters):
    with torch.device("meta"):
        model = build_model(load_config(recipe).model, 133)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_bundled_recipe_builds(recipe):
    config = load_config(recipe)
    with torch.device("meta"):
        assert isinstance(build_model(config.model, 7), Mask2Former)


class Recorder(nn.Module):
    """Stands for backbone and pixel decoder; keeps the frames it is given."""

    def forward(self, frames: Tensor) -> Tensor:
        self.frames = frames
        return frames


class Flat(nn.Module):
    def forward(self, frames: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        return frames, {8: frames}


class Same(nn.Module):
    def forward(self, features: PixelFeatures) -> PixelFeatures:
        return features


def test_network_normalises_frames_and_gives_the_clips_back():
    mean, std = (100.0, 50.0, 10.0), (2.0, 4.0, 5.0)
    model = Mask2Former(Recorder(), Flat(), Same(), mean=mean, std=std)
    clips = torch.rand(2, 3, 3, 32, 64) * 255
    features = model(clips)
    offset, scale = (torch.tensor(numbers)[:, None, None] for numbers in (mean, std))
    expected = (clips - offset) / scale
    torch.testing.assert_close(model.backbone.frames, expected.flatten(0, 1))
    torch.testing.assert_close(features.mask_features, expected)
    torch.testing.assert_close(features.pyramid[8], expected)
    assert not model.state_dict()


@torch.no_grad()
def test_picture_is_a_clip_of_one_frame(tiny, images):
    for picture, clip in zip(tiny(images), tiny(images.unsqueeze(1)), strict=True):
        assert torch.equal(picture.class_logits, clip.class_logits)
        assert torch.equal(picture.mask_logits(), clip.mask_logits())


@torch.no_grad()
def test_picture_alone_is_answered_as_in_a_batch(tiny, images):
    both, alone = tiny(images)[-1], tiny(images[1:])[-1]
    assert_same(alone, Prediction(*(tensor[1:] for tensor in both)))


@torch.no_grad()
def test_copies_of_a_frame_are_answered_as_the_frame(tiny, images):
    clip = tiny(images.unsqueeze(1).expand(-1, 3, -1, -1, -1))[-1]
    picture = tiny(images)[-1]
    copied = picture._replace(mask_features=picture.mask_features.expand(-1, 3, -1, -1, -1))
    assert_same(clip, copied)


@torch.no_grad()
def test_exported_network_agrees_for_any_batch_size(tiny, images):
    batch = torch.export.Dim("batch", min=1, max=16)
    program = torch.export.export(tiny, (images,), dynamic_shapes=({0: batch},), strict=False)
    network = program.module()
    for count in (1, 2, 5):
        pictures = torch.rand(count, 3, 64, 96) * 255
        assert_same(network(pictures)[-1], tiny(pictures)[-1])


@torch.no_grad()
def test_exported_clip_network_agrees(tiny, images):
    clip = images.unsqueeze(0)
    program = torch.export.export(tiny, (clip,), strict=False)
    assert_same(program.module()(clip)[-1], tiny(clip)[-1])
