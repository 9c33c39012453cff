"""What is told of int8, before anybody relies on it."""

from collections import defaultdict
from pathlib import Path

import pytest

from mask2former.export.int8 import Comparison, Row, write_int8
from mask2former.export.plan import make_plan


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
    """Those of sampled queries end in squares of places, for which 256 steps are too few."""
    openvino, _ = pytest.importorskip("openvino"), pytest.importorskip("nncf")
    network, card = build(queries={"spacing": 16}, num_queries=100)
    write_int8(network, card, make_plan(card, "openvino", size=(64, 96), int8=True), tmp_path)
    readers = defaultdict(list)
    for node in openvino.Core().read_model(tmp_path / "model.xml").get_ops():
        if node.get_input_size():
            readers[node.get_type_name()].append(node.input_value(0).get_node().get_type_name())
    assert "FakeQuantize" in readers["Convolution"]
    assert readers["Interpolate"]
    assert "FakeQuantize" not in readers["Interpolate"]
