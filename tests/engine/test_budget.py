"""A time limit is kept whatever the machine does, and the schedule ends with the run."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mask2former.checkpoint import load_card
from mask2former.config import Config, Schedule, Train
from mask2former.engine import state
from mask2former.engine.budget import AIM, Budget
from mask2former.engine.optimizer import Pace, learning_rate_factor
from mask2former.engine.processes import Team
from mask2former.engine.train import Trainer, train
from mask2former.report.run_folder import RunFolder

Tiny = Callable[..., Config]


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Play:
    """A run whose steps and measurements take given seconds and do nothing else."""

    def __init__(self, patch: pytest.MonkeyPatch, step: Callable[[float], float], picture: float):
        self.clock = Clock()
        self.began = self.clock.now
        self.measured: list[int] = []
        self.rates: list[float] = []
        self.ended = 0

        def of(settings: Train, spent: float, team: Team) -> Budget | None:
            assert settings.minutes is not None
            return Budget(settings.minutes, spent=0, team=team, clock=self.clock)

        def take_step(trainer: Trainer, batch: object) -> None:
            trainer.learner.begin(trainer.progress.step)
            self.rates.append(trainer.learner.learning_rate())
            self.clock.now += step(self.clock.now - self.began)
            trainer.progress.step += 1

        def evaluate(trainer: Trainer) -> None:
            self.measured.append(trainer.progress.step)
            count = trainer.config.train.evaluate_on or len(trainer.val_set)
            self.clock.now += count * picture
            trainer.progress.measuring = count * picture
            assert trainer.budget is not None
            trainer.budget.pause()

        def time_measuring(trainer: Trainer) -> float:
            self.clock.now += 4 * picture
            return picture

        def batches(trainer: Trainer) -> Iterator[None]:
            while trainer.progress.step < trainer.config.train.steps:
                yield None

        patch.setattr(Budget, "of", of)
        patch.setattr(Trainer, "take_step", take_step)
        patch.setattr(Trainer, "evaluate", evaluate)
        patch.setattr(Trainer, "time_measuring", time_measuring)
        patch.setattr(Trainer, "batches", batches)
        patch.setattr(Trainer, "log", lambda _: None)

    def run(self, config: Config, folder: Path) -> float:
        """The share of the limit that the run took."""
        train(config, folder, device=torch.device("cpu"), say=lambda _: None)
        self.ended = state.load(folder)[0].step
        assert config.train.minutes is not None
        return (self.clock.now - self.began) / (60 * config.train.minutes)


SPEEDS: dict[str, Callable[[float], float]] = {
    "steady": lambda _: 0.5,
    "cold at first": lambda t: 10.0 if t < 1 else 0.5,
    "ten times slower after a while": lambda t: 0.3 if t < 40 else 3.0,
    "slower and slower": lambda t: 0.2 + t / 100,
    "quicker after a while": lambda t: 1.0 if t < 40 else 0.3,
    "uneven": lambda t: 0.2 + 1.5 * (math.sin(37 * t) > 0.8),
    "steps of half a minute": lambda _: 30.0,
}
LIMIT = 120


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("picture", [0.001, 2.0])
def test_run_ends_in_time_with_a_finished_schedule(
    speed: str, picture: float, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(monkeypatch, SPEEDS[speed], picture)
    schedule = "train.schedule={kind: cosine, warmup: 100}"
    share = play.run(tiny(f"train.minutes={LIMIT / 60}", schedule), tmp_path)
    longest = max(SPEEDS[speed](t / 10) for t in range(10 * LIMIT))
    # One step, and the first seven of which nothing is known, may end too late.
    assert share <= max(AIM, 7 * longest / LIMIT) + (longest + picture) / LIMIT
    if 7 * longest < LIMIT:
        assert share > AIM - 0.05 - 2 * longest / LIMIT
    assert play.measured[-1] == play.ended == len(play.rates)
    assert len(set(play.measured)) == len(play.measured) <= 20
    peak = max(play.rates)
    if len(play.rates) > 50:
        assert play.rates[-1] < 0.05 * peak
    falling = play.rates[play.rates.index(peak) :]
    assert falling == sorted(falling, reverse=True), "the rate never rises again"


def test_measuring_is_cut_to_a_part_of_the_time(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(monkeypatch, SPEEDS["steady"], picture=2.0)
    share = play.run(tiny("train.minutes=2", "data.first=40"), tmp_path)
    assert share < AIM + 0.05
    assert len(play.measured) == 1
    assert (
        load_card(tmp_path).config.train.evaluate_on == 6
    )  # 0.15 x 114 s hold so many and a report


def test_resumed_run_goes_on_at_its_pace(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("train.minutes=2", "train.schedule={kind: cosine}")
    with monkeypatch.context() as patch:
        play = Play(patch, SPEEDS["steady"], 0.01)
        whole = Trainer.save

        def save(trainer: Trainer) -> None:
            whole(trainer)
            if play.clock.now - play.began > 60:
                raise KeyboardInterrupt

        patch.setattr(Trainer, "save", save)
        with pytest.raises(KeyboardInterrupt):
            play.run(config, tmp_path)
    half = state.load(tmp_path)[0]
    assert half.pace is not None
    assert 60 < half.spent < 75
    play = Play(monkeypatch, SPEEDS["steady"], 0.01)
    train(config, tmp_path, device=torch.device("cpu"), say=lambda _: None, resume=True)
    assert play.clock.now - play.began == pytest.approx(60 * 2 * AIM - half.spent, abs=3)
    cosine = learning_rate_factor(Schedule(kind="cosine"), *half.pace)
    assert play.rates[0] == pytest.approx(1e-3 * cosine(half.step))


def test_pace_bends_without_a_jump() -> None:
    pace = Pace(100)
    assert [pace.progress(step) for step in (0, 25, 100, 130)] == [0, 0.25, 1, 1]
    slower = pace.bend(50, 75)
    assert slower.progress(50) == pace.progress(50)
    assert slower.progress(74) < slower.progress(75) == 1.0
    both = slower.bend(60, 200).bend(150, 160)
    places = [both.progress(step) for step in range(150, 161)]
    assert places == sorted(places)
    assert places[-1] == 1.0


def test_a_run_with_minutes_is_planned_said_and_stored(
    tiny: Tiny, tmp_path: Path, undrawn: None
) -> None:
    said: list[str] = []
    config = tiny("train.minutes=0.1", "train.steps=100000", "train.log_every=20")
    folder = train(config, tmp_path, device=torch.device("cpu"), say=said.append)
    assert any(line.startswith("planned for 0.1 minutes: ") for line in said)
    progress, _ = state.load(folder)
    assert progress.pace is not None
    assert progress.step == progress.pace[0] < 1000
    longer = tiny("train.minutes=0.2", "train.steps=100000", "train.log_every=20")
    with pytest.raises(ValueError, match=r"this run has ended, at step .* begin another --from"):
        train(longer, tmp_path, device=torch.device("cpu"), say=said.append, resume=True)
    train(config, tmp_path, device=torch.device("cpu"), say=said.append, resume=True)
    assert state.load(folder)[0].step == progress.step
    assert any("validation" in record for record in RunFolder(folder).read())
    assert all("steps" in r for r in RunFolder(folder).read() if "loss" in r)
