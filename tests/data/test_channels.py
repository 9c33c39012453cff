"""Many channels through the transforms and the loader; their statistics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2former.config import Data, Split
from mask2former.data import Dataset, large_scale_jitter, resize_and_crop, resize_only
from mask2former.data.channels import measure_channels
from mask2former.data.colors import disturb
from mask2former.data.dataset import as_sample
from mask2former.data.loader import training_loader
from mask2former.data.transforms import Recolor
from mask2former.open_data import build_dataset

PIXELS = np.random.default_rng(0).integers(0, 65536, (1, 40, 60, 5), np.uint16)
IDS = np.ones((1, 1, 40, 60), np.int32)
MEAN = (1.0, 2.0, 3.0, 4.0, 5.5)


@pytest.mark.parametrize(
    "transform",
    [
        large_scale_jitter(64, (0.5, 0.9), padding=MEAN),
        resize_and_crop([30], 1000, (64, 64), color=[Recolor(disturb)], padding=MEAN),
        resize_only(64, padding=MEAN),
    ],
)
def test_pictures_of_five_channels_of_16_bits_are_padded_with_their_mean(transform) -> None:
    sample = transform(as_sample(PIXELS, IDS, [0], "a"))
    image = sample["image"]
    assert image.dtype == torch.float32
    assert image.shape == (1, 5, 64, 64)
    empty = (sample["ids"] == 0).squeeze()
    assert empty.any()
    assert (image[0, :, empty] == torch.tensor(MEAN)[:, None]).all()
    assert image[0, :, ~empty].mean() > 10_000


def test_channels_are_resized_alike() -> None:
    """Five channels of 8-bit values: what one channel alone gives."""
    five = resize_only((20, 30))(as_sample(PIXELS, IDS, [0], "a"))["image"]
    for channel in range(5):
        alone = resize_only((20, 30))(as_sample(PIXELS[..., channel : channel + 1], IDS, [0], "a"))
        torch.testing.assert_close(five[:, channel], alone["image"][:, 0].as_subclass(type(five)))


@pytest.fixture
def arrays(tmp_path: Path) -> Dataset:
    """Three pictures of three sizes in .npy files, with a label map each."""
    random = np.random.default_rng(1)
    images, annotations = [], []
    for number in range(3):
        height, width = 10 + number, 20
        pixels = (random.random((height, width, 4)) * [1, 1, 100, 1] + [0, 3, 0, -7]).astype(
            np.float32
        )
        pixels[..., 3] = -7
        np.save(tmp_path / f"{number}.npy", pixels)
        images.append(
            {"id": number, "file_name": f"{number}.npy", "height": height, "width": width}
        )
        box = [1, 1, 8, 1, 8, 8, 1, 8]
        entry = {"id": number, "image_id": number, "category_id": 1, "segmentation": [box]}
        annotations.append(entry)
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    split = Split(images=tmp_path, annotations=tmp_path / "a.json")
    return build_dataset(Data(format="coco", channels=4), split, "instance")


def test_statistics_are_those_of_all_pixels(arrays: Dataset, tmp_path: Path) -> None:
    pixels = np.concatenate([np.load(tmp_path / f"{n}.npy").reshape(-1, 4) for n in range(3)])
    mean, deviation = measure_channels(arrays)
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-4)
    np.testing.assert_allclose(deviation[:3], pixels.std(0)[:3], rtol=1e-3)
    assert deviation[3] == 1  # a constant channel


def test_batches_have_all_channels(arrays: Dataset) -> None:
    padding = (0.5, 3.5, 50.0, -7.0)
    batch = next(training_loader(arrays, lambda s: s, 3, seed=0, padding=padding))
    assert batch.images.shape == (3, 1, 4, 32, 32)
    assert batch.images.dtype == torch.float32
    assert (batch.images[:, 0, 3] == -7).all()
