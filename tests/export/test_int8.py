"""What is told of int8, before anybody relies on it."""

import pytest

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
