"""What is told of int8, before anybody relies on it."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from mask2former.checkpoint import save_model
from mask2former.export.int8 import Comparison, Row


def compared(before: float, after: float) -> Comparison:
    rows = [Row("fp32", 12.0, 20.0, before), Row("int8", 5.0, 6.0, after)]
    return Comparison("AP", 82, rows)


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.496), (0.5, 0.52), (0.0, 0.0)])
def test_small_losses_need_no_warning(before: float, after: float) -> None:
    assert compared(before, after).warning is None


def test_large_loss_is_told() -> None:
    warning = compared(0.5253, 0.4104).warning
    assert warning == "int8 loses 22% of AP; an export without --int8 keeps it"


def test_table_shows_both() -> None:
    table = str(compared(0.5, 0.4))
    assert "int8" in table
    assert "0.4000" in table
    assert "82 validation pictures" in table


def test_mask_features_are_resized_in_floating_point(build, tmp_path: Path) -> None:
    """Those of sampled queries end in squares of places, for which 256 steps are too few.

    In a process of its own: NNCF does not bear every library that other tests have loaded.
    """
    openvino, _ = pytest.importorskip("openvino"), pytest.importorskip("nncf")
    save_model(tmp_path / "tiny", *build(queries={"spacing": 16}, num_queries=100))
    words = ["--format", "openvino", "--size", "64x96", "--output", str(tmp_path / "small")]
    words += ["--int8", "data.format=shapes", "--calibrate", "2"]
    command = [sys.executable, "-m", "mask2former", "export", str(tmp_path / "tiny"), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fp32 checked: 64x96" in done.stdout
    assert "int8" in done.stdout
    readers = defaultdict(list)
    for node in openvino.Core().read_model(tmp_path / "small" / "model.xml").get_ops():
        if node.get_input_size():
            readers[node.get_type_name()].append(node.input_value(0).get_node().get_type_name())
    assert "FakeQuantize" in readers["Convolution"]
    assert readers["Interpolate"]
    assert "FakeQuantize" not in readers["Interpolate"]
