"""The training loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from torch import Tensor

from mask2former.build import (
    build_augmentation,
    build_criterion,
    build_model,
    padding_of,
)
from mask2former.checkpoint import ModelCard, load_card, save_card, save_weights
from mask2former.config import Config, override_values
from mask2former.data import Cached, Dataset, training_loader
from mask2former.data.balance import read_labels, repeat_factors
from mask2former.engine import state
from mask2former.engine.budget import UNPLANNED, Budget
from mask2former.engine.device import check_precision
from mask2former.engine.evaluate import evaluate
from mask2former.engine.figures import Step, Window
from mask2former.engine.launch import Ending, launch
from mask2former.engine.learner import Learner
from mask2former.engine.optimizer import Pace
from mask2former.engine.predict import Predictor
from mask2former.engine.processes import Team
from mask2former.engine.start import begin, settle_channels, weigh_classes
from mask2former.engine.stops import (
    ENDED,
    DivergedError,
    check_best_by,
    check_output,
    check_resumable,
    check_same_classes,
    check_shares,
)
from mask2former.engine.telling import TERMS, Teller, describe, describe_step, introduce
from mask2former.engine.validation import draw_samples, spread_evenly, time_picture
from mask2former.faults import explain
from mask2former.metrics.inspection import Inspection
from mask2former.report.check import demand_trainable
from mask2former.report.run_folder import RunFolder, format_seconds
from mask2former.report.run_report import write_run_report
from mask2former.structures import Batch


class Trainer:
    """One run into one folder.

    `say` hears every line meant for a person; `start_from` names a model whose weights are taken
    over where they fit; `resume` goes on from the folder's last state. `data` takes the place of
    the data sets that the settings name. `spent` seconds of the time limit are gone before.
    """

    def __init__(
        self,
        config: Config,
        output: Path,
        accelerator: Accelerator,
        say: Callable[[str], None],
        *,
        start_from: str | None = None,
        reset_head: bool = False,
        resume: bool = False,
        data: tuple[Dataset, Dataset] | None = None,
        spent: float = 0.0,
    ) -> None:
        train = config.train
        self.accelerator = accelerator
        self.team = Team(accelerator.process_index, accelerator.num_processes)
        check_shares(train, self.team.size)
        self.folder = RunFolder(output)
        self.teller = Teller(say, self.folder, accelerator)
        self.say = self.teller.say
        self.progress = state.Progress(best_by=train.best_by)
        self.budget = Budget.of(train, spent, self.team)
        if self.budget is not None:
            config = override_values(config, {"train.steps": UNPLANNED})
        self.window = Window(self.team, scales_loss=accelerator.scaler is not None)
        self.stopping = False
        torch.manual_seed(train.seed)
        self.train_set, self.val_set = data or demand_trainable(config.data, config.test.task)
        if not self.val_set.is_labelled:
            self.val_set = self.val_set.select(())
        if not resume:
            config = settle_channels(config, self.train_set, self.say)
        self.config = weigh_classes(config, self.train_set)
        self.card = ModelCard(self.config, self.train_set.categories)
        check_best_by(config, self.card.categories)
        network = build_model(config.model, len(self.card.categories))
        if not resume:
            with accelerator.main_process_first():  # it fetches the weights, the others find them
                self.card = begin(network, self.card, start_from, self.say, reset_head=reset_head)
        criterion = build_criterion(self.config.loss, self.card.categories)
        self.learner = Learner(network, criterion, config.train, accelerator, self.team)
        if resume:
            self.go_on()

    def go_on(self) -> None:
        """Take up the folder's last state."""
        train = self.config.train
        state.demand(self.folder.path)
        before = load_card(self.folder.path)
        check_resumable(self.config, before.config)
        check_same_classes(self.card.categories, before.categories)
        self.progress, stored = state.load(self.folder.path)
        self.learner.load_state(stored)
        self.progress.measured_by(train.best_by)
        self.card = replace(self.card, metrics=before.metrics, licence=before.licence)
        if self.budget is not None:
            self.budget.go_on(self.progress.spent)
        if self.budget is not None and self.progress.pace is not None:
            self.change({"train.steps": self.progress.pace[0]})
            if train.minutes != before.config.train.minutes and not self.has_steps_left():
                raise ValueError(
                    f"this run has ended, at step {self.progress.step} as planned for its minutes; "
                    "to train on, begin another --from this one"
                )

    def run(self) -> Path:
        """Train to the last step; the folder then holds the best model."""
        if self.accelerator.is_main_process:
            self.folder.begin(self.progress.step)
            save_card(self.folder.path, self.card)
        sets = self.train_set, self.val_set
        device, step = self.accelerator.device, self.progress.step
        network = self.learner.network
        for line in introduce(network, sets, self.config, device, team=self.team, step=step):
            self.say(line)
        with self.teller.live:
            self.make_up()
            began = time.perf_counter() - self.progress.seconds
            for batch in self.batches():
                self.take_step(batch)
                self.progress.seconds = time.perf_counter() - began
                if self.budget is not None:
                    self.keep_time(self.budget)
                if self.is_due(self.config.train.log_every):
                    self.log()
                if self.is_time_to_measure():
                    self.window.check()
                    self.save()  # measuring takes long, and what ends it must not cost the steps
                    self.evaluate()
                    began = time.perf_counter() - self.progress.seconds
                if self.is_due(self.config.train.save_every) or self.has_settled():
                    self.window.check()
                    self.save()
                if self.stopping:
                    self.end()
        if self.has_settled():
            patience = self.config.train.patience
            self.say(f"stopped: {patience} evaluations without a better model")
        return self.folder.path

    def has_ended(self) -> bool:
        """Whether a resumed run has neither a step nor an evaluation left."""
        progress = self.progress
        measured = not len(self.val_set) or progress.measured >= progress.step
        return progress.step > 0 and measured and (not self.has_steps_left() or self.has_settled())

    def make_up(self) -> None:
        """Measure the step at which the last life of the run ended before it was measured."""
        progress = self.progress
        if progress.step > 0 and progress.measured < progress.step and self.is_time_to_measure():
            self.evaluate()
            self.save()

    def end(self) -> NoReturn:
        """What a polite kill comes to, once the run is saved."""
        self.say("told to end (SIGTERM), and saved: go on with --resume")
        raise SystemExit(ENDED)

    def is_due(self, every: int) -> bool:
        """Whether this step is one of every so many, or the last one of the run or of this life."""
        step = self.progress.step
        return step % every == 0 or step == self.config.train.steps or self.stopping

    def is_time_to_measure(self) -> bool:
        """Whether to evaluate: with a time limit not shortly before the end, which does it too."""
        step, train = self.progress.step, self.config.train
        if self.stopping or not len(self.val_set):
            return False
        near = self.budget is not None and train.steps - step < train.evaluate_every / 2
        return step == train.steps or (step % train.evaluate_every == 0 and not near)

    def batches(self) -> Iterator[Batch]:
        """The batches from the current step to the last."""
        train, data = self.config.train, self.config.data
        repeats = None
        if data.repeat is not None:
            labels = read_labels(self.train_set)
            repeats = repeat_factors(labels, len(self.card.categories), data.repeat)
        loader = training_loader(
            Cached(self.train_set, data.cache_mb / max(data.workers, 1)),
            build_augmentation(data.augmentation, padding_of(self.config)),
            train.batch_size // self.team.size,
            seed=train.seed,
            start=self.progress.step * train.batch_size,
            workers=data.workers,
            rank=self.team.rank,
            world=self.team.size,
            padding=self.config.model.pixel_mean,
            repeats=repeats,
            paste_chance=data.paste,
            single=self.card.categories.single(self.config.test.task),
        )
        endless = iter(loader)
        while self.has_steps_left() and not self.has_settled():
            yield next(endless).to(self.accelerator.device)

    def has_steps_left(self) -> bool:
        return self.progress.step < self.config.train.steps

    def stop(self) -> None:
        """A polite kill, as of a cluster's preemption: a lone process saves before it ends.

        While it measures it has saved already. One of several ends at once: that it is told to end
        mostly means that another has died.
        """
        if self.team.size > 1:
            self.say("told to end (SIGTERM): go on with --resume")
            raise SystemExit(ENDED)
        self.stopping = True

    def look(self, done: int) -> None:
        """Called for every validation picture: a run that is told to end has saved already."""
        if self.stopping:
            self.end()

    def has_settled(self) -> bool:
        """Whether it has been long since a model was better than all before."""
        patience = self.config.train.patience
        return patience is not None and self.progress.waited >= patience

    def take_step(self, batch: Batch) -> None:
        """Learn from a batch, and keep its figures on the device until they are told."""
        try:
            figures = self.learner.learn(batch, self.progress.step)
        except FloatingPointError as error:
            if self.team.size == 1:  # the other processes are elsewhere, and would not answer
                self.window.check()  # an earlier step may have done the harm
            raise DivergedError(self.progress.step + 1, str(error), batch.names) from None
        self.progress.step += 1
        self.window.add(Step(self.progress.step, batch.names, figures))

    def keep_time(self, budget: Budget) -> None:
        """Plan the run once its first steps are timed, and anew as it gets slower or faster."""
        is_new = self.progress.pace is None
        pictures = len(self.val_set)
        changed = budget.adjust(self.config.train, self.progress, pictures, self.time_measuring)
        if changed:
            self.change(changed)
        if is_new and changed:
            train = self.config.train
            self.say(
                f"planned for {train.minutes:g} minutes: {train.steps} steps, measured every "
                f"{train.evaluate_every} on {train.evaluate_on or pictures} of {pictures} pictures"
            )

    def change(self, values: dict[str, Any]) -> None:
        """Go on with other values of training and at the pace that the progress tells."""
        self.config = override_values(self.config, values)
        self.card = replace(self.card, config=self.config)
        assert self.progress.pace is not None
        self.learner.follow(Pace(*self.progress.pace), self.config.train.schedule)

    def log(self) -> None:
        """Tell the mean figures of the last steps."""
        figures = self.window.close()
        told = {
            "loss": sum(value for name, value in figures.items() if name != "gradient_norm"),
            **{term: figures[term] for term in TERMS},
            "gradient_norm": figures["gradient_norm"],
            "learning_rate": self.learner.learning_rate(),
        }
        progress, steps, device = self.progress, self.config.train.steps, self.accelerator.device
        left = (steps - progress.step) * progress.seconds / progress.step
        left = left if self.budget is None else self.budget.left
        line = describe_step(told, progress, steps, left, device)
        self.teller.tell_step(line, progress.step, steps)
        planned = {} if self.budget is None else {"steps": steps}
        self.teller.record(progress.step, {**told, **planned, "seconds": progress.seconds})

    def evaluate(self) -> None:
        """Measure the validation set; keep the model if it is the best so far."""
        began = time.perf_counter()
        weights = self.learner.weights()
        predictor = self.build_predictor(weights)
        pictures = spread_evenly(self.val_set, self.config.train.evaluate_on)
        inspection = Inspection(self.card.categories, self.config.test.show_threshold)
        task, team = self.config.test.task, self.team
        report = evaluate(
            predictor, pictures, task, show=self.look, team=team, inspection=inspection
        )
        self.progress.measured = self.progress.step
        self.say(f"step {self.progress.step}  validation: {describe(report)}")
        if len(report.per_class) > 1:
            self.say(f"{report.measure} of classes: {report.classes_in_words()}")
        score = report.score(self.config.train.best_by)
        is_best = score >= self.progress.best
        self.progress.waited = 0 if is_best else self.progress.waited + 1
        if is_best:
            self.progress.best = score
            metrics = {"validation": report.summary, "protocol": report.protocol}
            self.card = replace(self.card, metrics={**metrics, "step": self.progress.step})
        self.teller.record(self.progress.step, {"validation": report.summary})
        if self.accelerator.is_main_process:
            if is_best:
                save_weights(self.folder.path, weights, self.card)
            try:
                draw_samples(self.folder, predictor, self.val_set)
                self.folder.plot()
                about = self.facts()
                write_run_report(self.folder.path, self.card, report, inspection, about=about)
            except OSError as error:  # such as a table that a person has open
                self.say(f"warning: {explain(error)}; the run goes on")
        self.progress.measuring = time.perf_counter() - began
        if self.budget is not None:
            self.budget.pause()

    def facts(self) -> dict[str, object]:
        """What the page of the run says beside the settings."""
        progress = self.progress
        return {
            "pictures": f"{len(self.train_set)} to train on, {len(self.val_set)} to validate",
            "steps": f"{progress.step} of {self.config.train.steps}",
            "time": format_seconds(progress.seconds),
        }

    def build_predictor(self, weights: dict[str, Tensor]) -> Predictor:
        """A network of its own, in fp32 whatever the training's precision, with whole weights."""
        network = build_model(self.config.model, len(self.card.categories))
        network.load_state_dict(weights)
        return Predictor(network, self.card, self.accelerator.device)

    def time_measuring(self) -> float:
        """What a validation picture takes, in seconds."""
        predictor = self.build_predictor(self.learner.weights())
        return time_picture(predictor, self.val_set, self.config.test.task)

    def save(self) -> None:
        """Write the whole state; without a validation set the last weights are the best."""
        if self.budget is not None:
            self.progress.spent = self.budget.spent
        stored = self.learner.state()
        weights = None if len(self.val_set) else self.learner.weights()
        if self.accelerator.is_main_process:
            if self.budget is not None:
                save_card(self.folder.path, self.card)  # with what is planned by now
            if weights is not None:
                save_weights(self.folder.path, weights, self.card)
            state.save(self.folder.path, self.progress, stored)
        self.team.wait()


def train(
    config: Config,
    output: Path,
    *,
    device: torch.device,
    data: tuple[Dataset, Dataset] | None = None,
    resume: bool = False,
    start_from: str | None = None,
    reset_head: bool = False,
    say: Callable[[str], None] = print,
    began: float | None = None,
) -> Path:
    """Train a recipe into a run folder, which is then a model folder too.

    Under `torchrun` every process calls it, and they train together. `data` takes the place of what
    the settings name, to train and to validate on. `start_from` names a model
    whose weights are taken over where they fit, with `reset_head` all but the class head. A time
    limit counts from `began` (of `time.perf_counter`), by default from now.
    """
    began = time.perf_counter() if began is None else began
    check_output(output, resume=resume, start_from=start_from, reset_head=reset_head)
    warning = check_precision(config.train.precision, device)
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)

    def run(accelerator: Accelerator, ending: Ending) -> Path:
        trainer = Trainer(
            config,
            output,
            accelerator,
            say,
            start_from=start_from,
            reset_head=reset_head,
            resume=resume,
            data=data,
            spent=time.perf_counter() - began,
        )
        if warning is not None:
            trainer.say(f"warning: {warning}")
        ending.act = trainer.stop
        if trainer.has_ended():
            trainer.say(
                f"this run has ended, at step {trainer.progress.step}, and stays as it is; to "
                "train on, give it more train.steps, or begin another --from this one"
            )
            return output
        return trainer.run()

    leads = os.environ.get("RANK", "0") == "0"
    with RunFolder(output).claimed() if leads else nullcontext():
        return launch(run, config.train, output, device)
