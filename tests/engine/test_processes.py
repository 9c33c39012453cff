"""Several processes train and measure as one does; one that dies takes nothing with it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import yaml

from mask2former.checkpoint import load_card
from mask2former.config import Config, dump_config
from mask2former.engine import state
from mask2former.engine.train import train

CPU = torch.device("cpu")
Tiny = Callable[..., Config]
SETTINGS = (
    "train.steps=20",
    "train.batch_size=4",
    "train.evaluate_every=10",
    "train.save_every=10",
    # Small steps, or rounding grows: one flipped bit of a mask or a match, and paths part.
    "train.learning_rate=1e-4",
    # Frozen statistics and no random drops, or the parts of a batch would not add up to the whole.
    "model.backbone.norm=frozen",
)


@pytest.fixture(scope="module")
def together(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train in two processes, as a person does: `together("name", "key=value", ...)`."""
    folder = tmp_path_factory.mktemp("together")

    def run(name: str, *settings: str) -> Path:
        done = launch(tiny(*SETTINGS), folder / name, settings)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("trained in") == done.stdout.count("step 7/20") == 1
        return folder / name

    return run


def launch(
    config: Config, output: Path, settings: Sequence[str], *flags: str
) -> subprocess.CompletedProcess[str]:
    recipe = output.parent / f"{output.name}.yaml"
    recipe.write_text(yaml.safe_dump(dump_config(config)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "mask2former", "train", str(recipe), *settings, "--output", str(output)]
    return subprocess.run(
        [*command, "--device", "cpu", *flags],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def alone(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    return train(tiny(*SETTINGS), folder, device=CPU, say=lambda _: None)


def read(folder: Path, key: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


@pytest.mark.parametrize(
    "settings",
    [(), ("train.accumulation=2",), ("train.sharded=true", "train.accumulation=2")],
    ids=["copies", "copies and micro-batches", "shares and micro-batches"],
)
def test_two_processes_compute_what_one_does(
    settings: tuple[str, ...], alone: Path, together: Callable[..., Path]
) -> None:
    folder = together("-".join(settings) or "copies", *settings)
    assert len(read(alone, "loss")) == 20
    assert read(folder, "loss") == pytest.approx(read(alone, "loss"), rel=1e-4)
    assert read(folder, "gradient_norm") == pytest.approx(read(alone, "gradient_norm"), rel=1e-2)
    own, shared = (load_card(run).metrics["validation"] for run in (alone, folder))
    assert shared == pytest.approx(own, abs=1e-3, nan_ok=True)
    log = (folder / "train.log").read_text()
    assert "in 2 processes" in log
    assert log.count("step 7/20") == 1, "only the first process speaks"


class Killed(BaseException):
    """Stands for a power cut."""


def kill_after_saving(line: str) -> None:
    if line.startswith("step 12/"):
        raise Killed


def test_two_processes_go_on_from_what_one_has_saved(
    tiny: Tiny, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        train(tiny(*SETTINGS), folder, device=CPU, say=kill_after_saving)
    done = launch(tiny(*SETTINGS), folder, ["train.sharded=true"], "--resume")
    assert done.returncode == 0, done.stderr[-2000:]
    assert read(folder, "loss") == pytest.approx(read(alone, "loss"), rel=1e-4)


def test_rank_that_dies_ends_the_run_with_a_sentence_and_a_whole_state(
    tiny: Tiny, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    (tmp_path / "sitecustomize.py").write_text(DYING)
    os.environ["PYTHONPATH"], before = str(tmp_path), os.environ.get("PYTHONPATH")
    try:
        done = launch(tiny(*SETTINGS), folder, ["train.save_every=1"])
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    assert done.returncode != 0
    sentences = [line for line in done.stderr.splitlines() if line.startswith("mask2former")]
    told = [line for line in (*sentences, *done.stdout.splitlines()) if "--resume" in line]
    assert told, done.stderr[-3000:]
    progress, stored = state.load(folder)
    assert 1 <= progress.step <= 8
    assert all(torch.isfinite(t).all() for t in stored["network"].values())


DYING = """
import os, signal
if os.environ.get("RANK") == "1":
    from mask2former.engine.learner import Learner
    learn = Learner.learn
    def dying(self, batch, step):
        if step == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return learn(self, batch, step)
    Learner.learn = dying
"""
