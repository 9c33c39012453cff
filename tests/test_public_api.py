"""`import mask2former` is quick and lazy, and every public name resolves."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mask2former


def test_import_leaves_torch_alone() -> None:
    program = "import sys, mask2former; assert not {'torch', 'timm', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("name", mask2former.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(mask2former, name) is not None
    assert name in dir(mask2former)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Mask3Former'"):
        _ = mask2former.Mask3Former


def test_version_is_the_project_files() -> None:
    project = Path(__file__).parents[1] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == mask2former.__version__
