"""What the tables of bad input share: the command in this process, a tiny model, a full disk."""

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from mask2former import cli
from mask2former.build import build_model
from mask2former.checkpoint import ModelCard, save_model
from mask2former.config import Config, parse_config
from mask2former.data import Shapes

SETTINGS = {
    "model": {
        "dim": 32,
        "backbone": {"name": "test_efficientnet"},
        "pixel_decoder": {"layers": 1, "feedforward": 32},
        "transformer_decoder": {"layers": 1, "heads": 4, "feedforward": 32, "num_queries": 4},
    },
    "loss": {"num_points": 64},
    "data": {"workers": 0, "augmentation": {"kind": "fit", "size": [64, 64]}},
    "train": {"steps": 2, "batch_size": 2, "log_every": 1},
    "test": {"task": "instance", "short_edge": 64, "max_size": 96, "show_threshold": 0.0},
}


class Said(NamedTuple):
    """What a command answered."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one sentence on stderr, which has no other line."""
        start, sentence = self.err.split(": ", 1)
        assert start == "mask2former"
        assert sentence.endswith("\n")
        assert sentence.count("\n") == 1
        assert "Traceback" not in sentence
        assert len(sentence) <= 500
        return sentence.rstrip()


Command = Callable[..., Said]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command in this process: `command("predict", "a.png")`."""

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["mask2former", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert isinstance(end.value.code, int)
        return Said(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def settings() -> dict:
    """The settings of a tiny network."""
    return SETTINGS


@pytest.fixture(scope="session")
def config() -> Config:
    """The same, checked."""
    return parse_config(SETTINGS, "the tests")


@pytest.fixture(scope="session")
def model(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights that knows `circle`, `square` and `triangle`."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    categories = Shapes(1, task="instance").categories
    save_model(folder, build_model(config.model, len(categories)), ModelCard(config, categories))
    return folder


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """No file can grow beyond so many bytes: `with full_disk(1000): ...`."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    return limit
