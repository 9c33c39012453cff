"""Every module of the package can be imported; `make oldest` asks the same of old versions."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import mask2former

OPTIONAL = frozenset(
    {
        "av",
        "fastapi",
        "numba",
        "nncf",
        "onnx",
        "onnxruntime",
        "openvino",
        "python_multipart",
        "uvicorn",
    }
)
"""What the extras install."""

MODULES = [
    module.name
    for module in pkgutil.walk_packages(mask2former.__path__, "mask2former.")
    if not module.name.endswith("__main__")  # importing it runs the command
]


@pytest.mark.parametrize("name", MODULES)
def test_module_imports(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"{error.name}, of an extra, is not installed")
