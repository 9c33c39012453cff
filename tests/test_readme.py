"""Every block of the README and of docs/python.md runs as written, but for those marked so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- no test: [^>]+ -->\n)?```(python|bash)\n(.*?)```", re.DOTALL)
BLOCKS = [
    (language, code)
    for page in ("README.md", "docs/python.md")
    for skipped, language, code in BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    if not skipped
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the demo pictures where the README finds them."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "src/mask2former/demo", folder / "src/mask2former/demo")
    return folder


@pytest.mark.parametrize(
    ("language", "code"), BLOCKS, ids=[f"{i}-{b[0]}" for i, b in enumerate(BLOCKS)]
)
def test_readme_block_runs(folder: Path, language: str, code: str) -> None:
    command = [sys.executable, "-c", code] if language == "python" else ["bash", "-ec", code]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def test_readme_has_both_kinds_of_blocks() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "bash"}


def test_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
