"""The minutes a run may take, and how many steps fit into them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mask2former.config import Train
from mask2former.engine.optimizer import Pace
from mask2former.engine.processes import ALONE, Team
from mask2former.engine.state import Progress

AIM = 0.95
"""Of the minutes; the rest is for starting, for the last save, and for what nobody foresees."""
FOR_MEASURING = 0.15
"""Of the time, at most, for measuring the validation set."""
MOST_MEASUREMENTS = 10
REPORTING = 5.0
"""Seconds that curves, samples and tables take after measuring, until a first time tells."""
COLD, TRIAL = 2, 5
"""Steps that warm caches and compilers up, and steps that are timed before the run is planned."""
UNPLANNED = 2**30
"""The steps of a run with a time limit until the first ones are timed: it cannot end before."""
RECENT = 20
"""So many of the last steps tell how long the next ones take."""
SLACK = 0.02
"""The part of the remaining steps below which a new plan is not worth it."""


class Plan(NamedTuple):
    """What fits into the time."""

    steps: int
    evaluate_every: int
    evaluate_on: int  # validation pictures


class Budget:
    """A clock that tells how many steps still fit, by how long the last ones took.

    `spent` seconds were used before it was made. What measuring takes is told apart,
    so that a step's time holds all but that: reading, learning, logging, saving.
    """

    def __init__(
        self,
        minutes: float,
        spent: float = 0.0,
        *,
        team: Team = ALONE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._team = team
        self.limit = AIM * 60 * minutes
        self._clock = clock
        self._began = clock() - spent
        self._mark: float | None = None
        self._took: deque[float] = deque(maxlen=RECENT)
        self._seen = 0

    @classmethod
    def of(cls, train: Train, spent: float, team: Team) -> Budget | None:
        """The one that the settings ask for, if they do."""
        return None if train.minutes is None else cls(train.minutes, spent, team=team)

    def go_on(self, spent: float) -> None:
        """Add what a run had spent that is resumed."""
        self._began -= spent

    @property
    def spent(self) -> float:
        """Seconds since the run began, without those between its end and its resumption."""
        return self._clock() - self._began

    @property
    def left(self) -> float:
        """Seconds until the run should end."""
        return max(self.limit - self.spent, 0.0)

    @property
    def _knows(self) -> bool:
        """Whether enough steps were timed to plan by; slow ones tell sooner."""
        timed = sum(self._took)
        return len(self._took) >= TRIAL or timed > 0.03 * self.limit

    def _tick(self) -> None:
        """A step has ended."""
        now, self._seen = self._clock(), self._seen + 1
        if self._mark is not None and self._seen > COLD:
            self._took.append(now - self._mark)
        self._mark = now

    def pause(self) -> None:
        """What comes until the next step is not a part of it."""
        self._mark = self._clock()

    def adjust(
        self, train: Train, progress: Progress, pictures: int, measure: Callable[[], float]
    ) -> dict[str, Any]:
        """Settings to change after a step: all that hang on time at first, then the steps.

        Of `pictures` validation pictures each takes what `measure` tells. The pace is kept in
        `progress`, so that a resumed run goes on with it.
        """
        self._tick()
        [knows] = self._agree([self._knows])
        if not knows:
            return {}
        if progress.pace is not None:
            steps = self._fitting(progress.step, train, progress.measuring)
            [steps] = map(int, self._agree([steps]))
            if steps == train.steps:
                return {}
            progress.pace = tuple(Pace(*progress.pace).bend(progress.step, steps))
            every = max(train.evaluate_every, -(-steps // MOST_MEASUREMENTS))
            return {"train.steps": steps, "train.evaluate_every": every}
        [seconds] = self._agree([measure() if pictures else 0.0])
        plan = Plan(*map(int, self._agree(self.plan(progress.step, pictures, seconds))))
        progress.measuring = plan.evaluate_on * seconds + REPORTING
        progress.pace = tuple(Pace(plan.steps))  # a plain one: the state is read without classes
        self.pause()
        return {
            "train.steps": plan.steps,
            "train.evaluate_every": plan.evaluate_every,
            "train.evaluate_on": plan.evaluate_on if plan.evaluate_on < pictures else None,
            "train.save_every": max(plan.steps // 10, 1),
            "train.log_every": min(train.log_every, max(plan.steps // 20, 1)),
            "train.schedule.warmup": min(train.schedule.warmup, max(plan.steps // 10, 1)),
        }

    def _agree(self, values: Sequence[float]) -> list[float]:
        """What the first process says, in all of them: their clocks differ."""
        if self._team.size == 1:
            return list(values)
        return self._team.gather([float(value) for value in values])[0]

    def plan(self, step: int, pictures: int, seconds: float) -> Plan:
        """Share the time out after the first steps: `seconds` is what a validation picture takes.

        Measuring gets a part of the time only, if need be with fewer pictures.
        """
        allowed = FOR_MEASURING * self.limit
        measured = min(pictures, max(int((allowed - REPORTING) / max(seconds, 1e-9)), 4))
        once = measured * seconds + REPORTING
        times = int(min(max(allowed / once, 1), MOST_MEASUREMENTS))
        steps = step + max(int((self.left - times * once) / self._step), 1)
        return Plan(steps, -(-steps // times), measured)

    def _fitting(self, step: int, train: Train, measuring: float) -> int:
        """How many steps fit in all, `step` of them done; the planned number where it will do.

        `measuring` is what an evaluation takes: one must follow the last step.
        """
        cost = self._step + measuring / train.evaluate_every
        fitting = step + max(int((self.left - measuring) / cost), 0)
        tolerated = SLACK * (train.steps - step)
        return train.steps if abs(fitting - train.steps) <= tolerated else fitting

    @property
    def _step(self) -> float:
        return max(sum(self._took) / len(self._took), 1e-9)
