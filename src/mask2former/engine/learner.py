"""A network that learns: one step of the optimiser, over micro-batches and processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from mask2former.config import Schedule, Train
from mask2former.engine.average import Average
from mask2former.engine.blocks import checkpoint_gradients, find_blocks
from mask2former.engine.optimizer import Pace, build_optimizer, learning_rate_factor
from mask2former.engine.processes import Team, spread, whole, without_exchange
from mask2former.engine.start import freeze, freeze_idle
from mask2former.loss.criterion import Criterion, Normalisers, make_generators
from mask2former.model.kernels.hasten import hasten_training
from mask2former.model.mask2former import Mask2Former
from mask2former.model.pilots import Piloted
from mask2former.structures import Batch

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
LENIENT = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)
"""What was frozen before has no state in the optimiser; it begins without."""


class Learner:
    """The weights, what steers them, and all that has to be stored to go on with them."""

    def __init__(
        self,
        network: Mask2Former,
        criterion: Criterion,
        train: Train,
        accelerator: Accelerator,
        team: Team,
    ) -> None:
        self.train = train
        self.criterion = criterion.to(accelerator.device)
        self.accelerator = accelerator
        self.team = team
        hasten_training(network.to(accelerator.device))
        self.frozen = freeze(network, train.freeze)
        if team.size > 1:
            freeze_idle(network)
        if train.gradient_checkpointing:
            checkpoint_gradients(find_blocks(network))
        taught = network if train.pilots is None else Piloted(network, train.pilots)
        self.model = spread(taught, accelerator.device, team, sharded=train.sharded)
        self.network = network
        self.optimizer = accelerator.prepare(build_optimizer(network, train))
        groups = self.optimizer.param_groups
        self.rates = [(group["lr"], group["weight_decay"]) for group in groups]
        self.follow(Pace(train.steps), train.schedule)
        self.average = None if train.ema is None else Average(network, train.ema)
        self.normalisers: Normalisers | None = None
        """Of the step being taken: its micro-batches share them."""

    def follow(self, pace: Pace, schedule: Schedule) -> None:
        """Let the learning rate fall at a pace."""
        self.rate_factor = learning_rate_factor(schedule, *pace)

    def learn(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Take step number `step` (from 0): the terms of the loss and `gradient_norm`.

        The terms are this process's; their mean over the processes is the loss of the batch.
        Nothing here waits for the device but the matching. Raises FloatingPointError where a
        matching cost is no number.
        """
        self.begin(step)
        figures: dict[str, Tensor] = {}
        for part, exchange in self.cut(len(batch.targets)):
            with exchange:
                terms = self.losses(batch, part, self.draw_seeds(step, len(batch.targets))[part])
                self.accelerator.backward(torch.stack(list(terms.values())).sum())
            for name, term in terms.items():
                figures[name] = figures.get(name, 0.0) + term.detach()
        limit = math.inf if self.train.clip is None else self.train.clip
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), limit)
        assert norm is not None
        figures["gradient_norm"] = whole(norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.network, step)
        return figures

    def begin(self, step: int) -> None:
        """Set modes, rates and random numbers, all of them functions of the step alone."""
        self.normalisers = None
        self.model.train()
        for module in self.frozen:
            module.eval()
        for group, (rate, decay) in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.rate_factor(step)
            group["weight_decay"] = decay  # the settings', whatever a stored state says
        torch.manual_seed(self.seed(step, self.team.rank))  # of dropout and stochastic depth

    def cut(self, pictures: int) -> Iterator[tuple[slice, Any]]:
        """The micro-batches; only the last exchanges gradients with the other processes."""
        size = pictures // self.train.accumulation
        for start in range(0, pictures, size):
            last = start + size >= pictures
            yield (
                slice(start, start + size),
                (nullcontext() if last else without_exchange(self.model)),
            )

    def losses(self, batch: Batch, part: slice, seeds: Sequence[int]) -> dict[str, Tensor]:
        """The loss terms of a micro-batch, each divided by what the whole batch counts."""
        images, targets = batch.images[part].float(), batch.targets[part]
        pilots = None
        with self.accelerator.autocast():
            if self.train.pilots is None:
                predictions = self.model(images)
            else:
                generators = make_generators(seeds, len(targets), images.device)
                predictions, pilots = self.model(images, targets, generators)
        if self.normalisers is None:  # once a step: all its pictures have one size
            self.normalisers = self.count(batch, predictions[0].class_logits.shape[1])
        terms = self.criterion(predictions, targets, self.normalisers, seeds)
        if pilots is not None:
            terms |= self.criterion.pilot_terms(pilots, targets, self.normalisers, seeds)
        return terms

    def count(self, batch: Batch, queries: int) -> Normalisers:
        """The divisors of the whole batch, over processes; gradients are averaged over these."""
        own = self.criterion.normalisers(batch.targets, queries)
        if self.team.size == 1:
            return own
        both = [torch.as_tensor(divisor, dtype=torch.float32) for divisor in own]
        device = self.accelerator.device
        moved = torch.stack([divisor.to(device, non_blocking=True) for divisor in both])
        return Normalisers(*self.team.mean(moved).unbind())

    def draw_seeds(self, step: int, count: int) -> list[int]:
        """One key per picture for its random points: equal for any number of processes."""
        # The sampler deals the pictures of a batch out in turn.
        return [self.seed(step, self.team.rank + self.team.size * i) for i in range(count)]

    def seed(self, step: int, place: int) -> int:
        """A number of 63 bits that hangs on the run's seed, the step and a place."""
        key = np.random.SeedSequence((self.train.seed, step, place))
        return int(key.generate_state(1, np.uint64)[0] >> 1)

    def learning_rate(self) -> float:
        """The highest of the last step."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def weights(self) -> dict[str, Tensor]:
        """The whole weights to measure and keep: the average, where there is one."""
        tensors = self.network.state_dict() if self.average is None else self.average.tensors
        return {name: self.team.first(whole(tensor)) for name, tensor in tensors.items()}

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, put together from all processes; all of them must ask."""
        optimizer = get_optimizer_state_dict(self.network, self.optimizer.optimizer, options=WHOLE)
        state = self.network.state_dict()
        scaler = self.accelerator.scaler
        return {
            "network": {name: whole(tensor) for name, tensor in state.items()},
            "average": None if self.average is None else self.weights(),
            "optimizer": optimizer,
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state, with any number of processes."""
        if self.average is not None:
            start = state["average"] or state["network"]  # the run may have had no average so far
            set_model_state_dict(self.network, start, options=WHOLE)
            self.average.restart(self.network)
        set_model_state_dict(self.network, state["network"], options=WHOLE)
        set_optimizer_state_dict(
            self.network, self.optimizer.optimizer, state["optimizer"], options=LENIENT
        )
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def count_parameters(network: nn.Module) -> tuple[int, int]:
    """(all, those that learn)."""
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)
