"""kill -9 at a hundred moments: nothing that was saved is lost, and the run ends as if unharmed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from mask2former.checkpoint import load_model
from mask2former.config import Config, dump_config
from mask2former.engine import state
from mask2former.engine.train import train

KILLS = 100
# Saved after every step and measured after every other, so that most kills hit a file being made.
SETTINGS = (
    "train.steps=80",
    "train.save_every=1",
    "train.evaluate_every=4",
    "train.ema=0.9",
    "data.first=3",
)

# One process loads PyTorch and then is copied (fork), once for every life of the run.
LIVES = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from mask2former.config import load_config
from mask2former.engine import state, train as room
from mask2former.report.run_folder import RunFolder
room.draw_samples = lambda *_: None
room.write_run_report = lambda *_, **__: None
RunFolder.plot = lambda *_: None
config, folder, kills = load_config(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
draw = random.Random(0)
seen = 0
span = None  # how long a life takes to save four steps, on this machine at this load
for kill in range(kills + 1):
    child = os.fork()
    if child == 0:
        sys.stdout = open(os.devnull, "w")
        resume = state.find(folder) is not None
        room.train(config, folder, device=torch.device("cpu"), resume=resume, say=lambda _: None)
        os._exit(0)
    if kill < kills:
        born = time.monotonic()
        while span is None:
            time.sleep(0.02)
            if state.find(folder) is not None and state.load(folder)[0].step >= 4:
                span = time.monotonic() - born
        time.sleep(max(0.0, draw.uniform(0.0, span) - (time.monotonic() - born)))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    if state.find(folder) is None:
        assert seen == 0, "a state was lost"
        continue
    progress, stored = state.load(folder)
    assert progress.step >= seen, (progress.step, seen)
    seen = progress.step
    print(json.dumps({"status": status, "step": seen}), flush=True)
"""


def losses(folder: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_hundred_kills_lose_nothing(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny(*SETTINGS)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(dump_config(config)))
    folder = tmp_path / "killed"
    lives = subprocess.run(
        [sys.executable, "-c", LIVES, str(recipe), str(folder), str(KILLS)],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert lives.returncode == 0, lives.stderr[-3000:]
    lived = [json.loads(line) for line in lives.stdout.splitlines()]
    assert lived[-1] == {"status": 0, "step": 80}
    assert len({life["step"] for life in lived}) > 5, "the kills hit too few moments of the run"
    unharmed = train(config, tmp_path / "unharmed", device=torch.device("cpu"), say=lambda _: None)
    assert losses(folder) == pytest.approx(losses(unharmed), rel=1e-5)
    assert list(losses(folder)) == list(range(1, 81))
    (ours, card), (theirs, other) = load_model(folder), load_model(unharmed)
    assert str(card.metrics) == str(other.metrics)
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(weight, theirs.state_dict()[name], rtol=0, atol=1e-6)
    assert [path.name for path in (folder / "last").iterdir()] == [state.STATE_FILE.name]
