"""The package as people get it: built, looked into, installed, used outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mask2former

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mask2former"
DATA = ("recipes", "categories", "models", "demo")
LARGEST_MB = 30


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; it sees nothing of the checkout."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build a `sdist` or `wheel` of a source tree."""
    pytest.importorskip("hatchling", reason="hatchling builds the package; make test installs it")
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder, cwd=source)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, as an index's users would: what that lacks is missed."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel, that borrows what the wheel depends on."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    run(*pip, wheel, cwd=folder)
    (packages,) = folder.glob("lib/*/site-packages")
    # After the wheel on the path, and without the editable installs that their .pth files bring.
    borrowed = [folder for folder in sys.path if folder.endswith("site-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    return python


def test_sdist_holds_what_a_maintainer_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "Makefile", "tests/conftest.py"} <= names
    assert not [name for name in names if name.startswith((".venv", "demo/", "runs/"))]


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    outside = [name for name in names if not name.startswith("mask2former/")]
    assert all(name.startswith(f"mask2former-{mask2former.__version__}.") for name in outside)
    assert any(name.endswith("licenses/LICENSE") for name in outside)
    assert not [name for name in names if "__pycache__" in name or "test" in Path(name).name]
    assert wheel.stat().st_size < LARGEST_MB * 1e6


@pytest.mark.parametrize("folder", DATA)
def test_wheel_holds_all_data(wheel: Path, folder: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith(f"mask2former/{folder}/")}
    present = {
        f"mask2former/{path.relative_to(SOURCE).as_posix()}"
        for path in (SOURCE / folder).rglob("*")
        if path.is_file()
    }
    assert packed == present
    assert present


def test_wheel_says_that_it_is_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert "mask2former/py.typed" in archive.namelist()


def test_installed_command_segments_outside_the_checkout(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import mask2former; print(mask2former.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(python.parents[1])
    command = python.parent / "mask2former"
    assert run(command, "--version", cwd=tmp_path) == f"mask2former {mask2former.__version__}\n"
    assert "coco/panoptic/r50" in run(command, "recipes", cwd=tmp_path)
    demo = Path(where.strip()).parent / "demo" / "cells"
    picture = min(demo.glob("*.png"))
    said = run(command, "predict", picture, "--model", "nuclei", "--output", "out", cwd=tmp_path)
    assert "1 pictures in" in said
    assert (tmp_path / "out" / "coco.json").is_file()
