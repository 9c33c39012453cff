"""What a benchmark counts and tells; how long anything takes is nobody's test."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import mask2former
from mask2former import cli
from mask2former.benchmark import (
    Benchmark,
    Row,
    at_size,
    benchmark,
    count_gflop,
    having_seen,
    sample_picture,
    usual_size,
)
from mask2former.build import build_model
from mask2former.cli.words import as_size
from mask2former.config import load_config
from mask2former.engine.predict import Predictor
from mask2former.machine import Timing
from mask2former.model.deformable_attention import sample_pyramid, sample_pyramid_with_grid
from mask2former.model.fapn import FeatureAlignment
from mask2former.model.kernels.hasten import hasten


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return mask2former.load("nuclei", device="cpu")


@pytest.fixture(scope="module")
def measured() -> Benchmark:
    return benchmark("nuclei", [(64, 96)], batch=2, threads=1, device="cpu", rounds=1)


def test_benchmark_tells_what_was_measured(measured: Benchmark) -> None:
    (row,) = measured.rows
    assert (row.size, measured.batch, measured.threads) == ((64, 96), 2, 1)
    assert (measured.task, measured.device) == ("instance", "cpu")
    assert min(row.network.median, row.postprocessing.median, row.predict.median, row.rate) > 0
    assert row.memory is not None
    assert row.memory > 0
    assert measured.machine["torch"] == torch.__version__


def test_benchmark_is_plain_json_and_a_table(measured: Benchmark) -> None:
    document = json.loads(json.dumps(measured.to_json()))
    (row,) = document["rows"]
    assert row["size"] == [64, 96]
    assert row["network"]["median"] == measured.rows[0].network.median
    assert row["efficiency"] == measured.rows[0].efficiency
    assert "medians" in document["protocol"]
    assert measured.to_table().row_count == 1


def test_threads_are_as_before(measured: Benchmark) -> None:
    assert torch.get_num_threads() == 1


def test_efficiency_is_the_share_of_the_multiplications() -> None:
    timing = Timing(0.5, 0.0)
    row = Row((1, 1), timing, timing, timing, None, gflop=30.0, rate=120.0)
    assert row.efficiency == 0.5


def test_gflop_of_known_layers() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 4, 1))
    flop = 2 * 16 * 16 * (3 * 8 * 9 + 8 * 4)
    assert count_gflop(network, torch.zeros(1, 3, 16, 16)) == pytest.approx(flop / 1e9)


@pytest.mark.parametrize("kernel", [sample_pyramid, sample_pyramid_with_grid])
def test_gflop_counts_deformable_sampling_by_either_kernel(kernel: Callable) -> None:
    shapes = [(4, 6), (2, 3)]
    reference = torch.rand(5, 2)
    offsets, logits = torch.randn(1, 5, 2, 2, 3, 2), torch.randn(1, 5, 2, 2, 3)

    class Sampling(nn.Module):
        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return kernel(value, shapes, reference, offsets, logits)

    samples = 5 * 2 * 2 * 3
    found = count_gflop(Sampling(), torch.rand(1, 30, 2, 8))
    assert found == pytest.approx(8 * 8 * samples / 1e9)


def test_gflop_counts_deformable_convolutions() -> None:
    align = FeatureAlignment(8, groups=2)
    maps = torch.rand(3, 8, 5, 6)

    class Align(nn.Module):
        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return align(maps, maps)

    multiplied = 2 * (16 * 8 + 8 * 36 * 9 + 8 * 8 * 9)
    found = count_gflop(Align(), maps)
    assert found == pytest.approx(3 * 5 * 6 * (multiplied + 8 * 8 * 9) / 1e9)


def test_gflop_counts_attention() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    flop = 2 * (2 * 4) * 7 * 7 * (16 + 16)
    found = count_gflop(Attention(), torch.rand(2, 4, 7, 16))
    assert found == pytest.approx(flop / 1e9)


def test_gflop_are_the_same_however_they_are_done() -> None:
    torch.manual_seed(0)
    network = build_model(load_config("coco/panoptic/r50", ["model.dim=64"]).model, 3)
    images = torch.zeros(1, 3, 256, 256)
    assert count_gflop(hasten(copy.deepcopy(network).eval()), images) == pytest.approx(
        count_gflop(network.eval(), images)
    )


def test_gflop_grows_with_the_pixels(predictor: Predictor) -> None:
    small, large = (
        count_gflop(predictor.model, torch.zeros(1, 3, side, side)) for side in (64, 128)
    )
    assert 3 < large / small < 4.5


def test_pictures_of_a_size_are_shown_as_they_are(predictor: Predictor) -> None:
    shown = at_size(predictor, (96, 160))
    _, sizes = shown.infer(sample_picture((96, 160)))
    assert sizes.network == sizes.original == (96, 160)
    assert predictor.card.config.test.short_edge == 512  # the model's own is as before


def test_post_processing_alone_gives_what_predict_gives(predictor: Predictor) -> None:
    shown, picture = at_size(predictor, (64, 64)), sample_picture((64, 64))
    seen, whole = having_seen(shown, picture), shown.segment(picture, "instance")
    again = seen.segment(picture, "instance")
    np.testing.assert_array_equal(again.masks, whole.masks)


def test_usual_size_is_what_the_model_was_made_for(predictor: Predictor) -> None:
    assert usual_size(predictor) == (512, 683)


@pytest.mark.parametrize("text", ["512", "0x64", "512x", "axb", "-1x5", "1x2x3"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write height x width in pixels"):
        as_size(text)


def test_command_prints_json(capsys: pytest.CaptureFixture, monkeypatch, measured) -> None:
    monkeypatch.setattr("mask2former.benchmark.benchmark", lambda *_, **__: measured)
    cli.benchmark("nuclei", ["64X96"], as_json=True)
    assert json.loads(capsys.readouterr().out)["model"] == "nuclei"


def test_command_prints_a_table(capsys: pytest.CaptureFixture, monkeypatch, measured) -> None:
    monkeypatch.setattr("mask2former.benchmark.benchmark", lambda *_, **__: measured)
    cli.benchmark("nuclei")
    said = capsys.readouterr().out
    assert "64x96" in said
    assert "1 thread, on cpu" in said
