"""What all tests share: one thread, fixed seeds, and the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global state is what libraries draw from


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MASK2FORMER_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; name its folder in MASK2FORMER_DATA")
    return folder
