"""The training loop."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import ProjectConfiguration
from torch import Tensor

from mask2former.build import build_augmentation, build_criterion, build_model, build_splits
from mask2former.checkpoint import WEIGHTS_FILE, ModelCard, load_card, save_card, save_model
from mask2former.config import Config
from mask2former.data import Cached, Dataset, training_loader
from mask2former.engine import state
from mask2former.engine.device import check_precision
from mask2former.engine.evaluate import Report, evaluate
from mask2former.engine.learner import Learner, count_parameters
from mask2former.engine.predict import Predictor
from mask2former.engine.processes import Team, means_lost_process
from mask2former.engine.start import initialise_backbone, take_over_weights
from mask2former.engine.stops import (
    ENDED,
    DivergedError,
    check_best_by,
    check_resumable,
    check_shares,
    lost_process,
    on_sigterm,
)
from mask2former.report.run_folder import RunFolder, format_seconds
from mask2former.structures import Batch

OVERFLOWS = 20
"""So many steps on end may not overflow in fp16."""
SAMPLES = 4
"""How many validation pictures are drawn after each evaluation."""


class Step(NamedTuple):
    """What is kept of a step until it is told of."""

    number: int
    pictures: list[str]
    figures: dict[str, Tensor]


class Trainer:
    """One run into one folder.

    `say` hears every line meant for a person; `start_from` names a model whose weights are taken
    over where they fit; `resume` goes on from the folder's last state.
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
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.team = Team(accelerator.process_index, accelerator.num_processes)
        check_shares(config.train, self.team.size)
        self.folder = RunFolder(output)
        self._say = say
        self.progress = state.Progress(best_by=config.train.best_by)
        self.window: list[Step] = []
        self.stopping = False
        torch.manual_seed(config.train.seed)
        self.train_set, self.val_set = build_splits(config.data, config.test.task)
        if not self.val_set.is_labelled:
            self.val_set = self.val_set.select(())
        self.card = ModelCard(config, self.train_set.categories)
        check_best_by(config, self.card.categories)
        network = build_model(config.model, len(self.card.categories))
        with accelerator.main_process_first():  # it fetches the weights, the others find them
            if start_from is not None:
                categories = self.card.categories
                origin = take_over_weights(
                    network, categories, start_from, self.say, reset_head=reset_head
                )
                self.card = replace(self.card, licence=origin.licence)
                self.say(f"licence of these weights, and so of the model: {origin.licence}")
            elif not resume:
                initialise_backbone(network, config.model.backbone, self.say)
        criterion = build_criterion(config.loss)
        self.learner = Learner(network, criterion, config.train, accelerator, self.team)
        if resume:
            state.demand(output)
            before = load_card(output)
            check_resumable(config, before.config)
            self.progress, stored = state.load(output)
            self.learner.load_state(stored)
            self.progress.measured_by(config.train.best_by)
            self.card = replace(self.card, metrics=before.metrics, licence=before.licence)

    def say(self, line: str) -> None:
        """Tell the person, and the log."""
        if self.accelerator.is_main_process:
            self._say(line)
            self.folder.say(line)

    def run(self) -> Path:
        """Train to the last step; the folder then holds the best model."""
        train = self.config.train
        if self.accelerator.is_main_process:
            self.folder.begin(self.progress.step)
            save_card(self.folder.path, self.card)
        self.introduce()
        began = time.perf_counter() - self.progress.seconds
        for batch in self.batches():
            self.take_step(batch)
            self.progress.seconds = time.perf_counter() - began
            step, last = self.progress.step, self.progress.step == train.steps
            if step % train.log_every == 0 or last or self.stopping:
                self.log()
            if (step % train.evaluate_every == 0 or last) and not self.stopping:
                self.check()
                self.evaluate()
                began = time.perf_counter() - self.progress.seconds
            if step % train.save_every == 0 or last or self.stopping or self.has_settled():
                self.check()
                self.save()
            if self.stopping:
                self.say("told to end (SIGTERM), and saved: go on with --resume")
                raise SystemExit(ENDED)
            if self.has_settled():
                self.say(f"stopped: {train.patience} evaluations without a better model")
                break
        return self.folder.path

    def introduce(self) -> None:
        """Say what is trained on what."""
        parameters, learning = count_parameters(self.learner.network)
        frozen = "" if learning == parameters else f" ({learning / 1e6:.1f} M learn)"
        processes = "" if self.team.size == 1 else f" in {self.team.size} processes"
        self.say(
            f"{len(self.train_set)} training and {len(self.val_set)} validation pictures, "
            f"{len(self.card.categories)} classes; {parameters / 1e6:.1f} M parameters{frozen} on "
            f"{self.accelerator.device}{processes}; "
            f"steps {self.progress.step} to {self.config.train.steps}"
        )
        for note in dict.fromkeys((*self.train_set.notes, *self.val_set.notes)):
            self.say(f"note: {note}")
        train = self.config.train
        if train.sharded and self.team.size == 1:
            self.say("note: train.sharded does nothing in one process; torchrun starts more")
        if not len(self.val_set):
            self.say("note: no validation pictures have labels, so the last weights are kept")

    def batches(self) -> Iterator[Batch]:
        """The batches from the current step to the last."""
        train, data = self.config.train, self.config.data
        loader = training_loader(
            Cached(self.train_set, data.cache_mb / max(data.workers, 1)),
            build_augmentation(data.augmentation),
            train.batch_size // self.team.size,
            seed=train.seed,
            start=self.progress.step * train.batch_size,
            workers=data.workers,
            rank=self.team.rank,
            world=self.team.size,
            padding=self.config.model.mean,
        )
        endless = iter(loader)
        while self.progress.step < train.steps and not self.has_settled():
            yield next(endless).to(self.accelerator.device)

    def stop(self) -> None:
        """A polite kill, as of a cluster's preemption: a lone process saves before it ends.

        One of several ends at once: that it is told to end mostly means that another has died.
        """
        if self.team.size > 1:
            self.say("told to end (SIGTERM): go on with --resume")
            raise SystemExit(ENDED)
        self.stopping = True

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
                self.check()  # an earlier step may have done the harm
            raise DivergedError(self.progress.step + 1, str(error), batch.names) from None
        self.progress.step += 1
        self.window.append(Step(self.progress.step, batch.names, figures))

    def check(self) -> list[dict[str, float]]:
        """The figures of the last steps, averaged over the processes.

        Raises DivergedError at one that is no number: weights that such a step has spoilt are
        never measured and never saved.
        """
        if not self.window:
            return []
        rows = torch.stack([torch.stack(list(step.figures.values())) for step in self.window])
        names = list(self.window[0].figures)
        figures = [dict(zip(names, row, strict=True)) for row in self.team.mean(rows).tolist()]
        for step, row in zip(self.window, figures, strict=True):
            bad = [name for name, value in row.items() if not math.isfinite(value)]
            if self.accelerator.scaler is not None:
                # Loss scaling overflows now and then; it then leaves the step out by itself.
                bad = [name for name in bad if name != "gradient_norm"]
            if self.accelerator.scaler is not None and step is self.window[-1]:
                norms = [row["gradient_norm"] for row in figures]
                if len(norms) >= OVERFLOWS and not any(map(math.isfinite, norms)):
                    bad = ["gradients, whatever the scale of the loss,"]
            if bad:
                pictures = [name for names in self.team.gather(step.pictures) for name in names]
                raise DivergedError(step.number, f"{', '.join(bad)} not finite", pictures)
        return figures

    def log(self) -> None:
        """Tell the mean figures of the last steps."""
        rows = self.check()
        self.window.clear()
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        norm = rows[-1].pop("gradient_norm")
        loss = sum(mean[name] for name in rows[-1])
        step, steps = self.progress.step, self.config.train.steps
        rate = step / self.progress.seconds
        last = {name: mean[name] for name in ("loss_ce", "loss_mask", "loss_dice")}
        learning_rate = self.learner.learning_rate()
        self.say(
            f"step {step}/{steps}  loss {loss:.3f}  "
            + "  ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in last.items())
            + f"  lr {learning_rate:.1e}  {rate:.2f} steps/s"
            + f"  left {format_seconds((steps - step) / rate)}"
        )
        if self.accelerator.is_main_process:
            figures = {"loss": loss, **last, "gradient_norm": norm, "learning_rate": learning_rate}
            self.folder.record(step, {**figures, "seconds": self.progress.seconds})
            self.accelerator.log(figures, step=step)

    def evaluate(self) -> None:
        """Measure the validation set; keep the model if it is the best so far."""
        if not len(self.val_set):
            return
        # A network of its own, in fp32 whatever the training's precision, with the whole weights.
        network = build_model(self.config.model, len(self.card.categories))
        network.load_state_dict(self.learner.weights())
        best = copy.deepcopy(network)  # the Predictor takes the other one over
        predictor = Predictor(network, self.card, self.accelerator.device)
        report = evaluate(predictor, self.val_set, self.config.test.task, team=self.team)
        self.say(f"step {self.progress.step}  validation: {describe(report)}")
        score = report.score(self.config.train.best_by)
        is_best = score >= self.progress.best
        self.progress.waited = 0 if is_best else self.progress.waited + 1
        if is_best:
            self.progress.best = score
            metrics = {"validation": report.summary, "protocol": report.protocol}
            self.card = replace(self.card, metrics={**metrics, "step": self.progress.step})
        if self.accelerator.is_main_process:
            self.folder.record(self.progress.step, {"validation": report.summary})
            self.accelerator.log(report.summary, step=self.progress.step)
            draw_samples(self.folder, predictor, self.val_set)
            self.folder.plot()
            if is_best:
                save_model(self.folder.path, best, self.card)

    def save(self) -> None:
        """Write the whole state; without a validation set the last weights are the best."""
        stored = self.learner.state()
        weights = None if len(self.val_set) else self.learner.weights()
        if self.accelerator.is_main_process:
            state.save(self.folder.path, self.progress, stored)
            if weights is not None:
                network = build_model(self.config.model, len(self.card.categories))
                network.load_state_dict(weights)
                save_model(self.folder.path, network, self.card)
        self.team.wait()


def train(
    config: Config,
    output: Path,
    *,
    device: torch.device,
    resume: bool = False,
    start_from: str | None = None,
    reset_head: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Train a recipe into a run folder, which is then a model folder too.

    Under `torchrun` every process calls it, and they train together. `start_from` names a model
    whose weights are taken over where they fit, with `reset_head` all but the class head.
    """
    if reset_head and start_from is None:
        raise ValueError("--reset-head leaves out a part of --from MODEL; name one")
    if resume and start_from is not None:
        raise ValueError("--resume goes on from the run's own weights; leave --from out")
    if not resume and state.find(output) is not None:
        raise ValueError(
            f"{output} holds a run already; give --resume to go on with it, or another --output"
        )
    if not resume and (output / WEIGHTS_FILE).exists():
        raise ValueError(f"{output} holds a model, which would be lost; give another --output")
    warning = check_precision(config.train.precision, device)
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    leads = os.environ.get("RANK", "0") == "0"
    with RunFolder(output).claimed() if leads else nullcontext():
        accelerator = Accelerator(
            mixed_precision={"fp32": "no"}.get(config.train.precision, config.train.precision),
            cpu=device.type == "cpu",
            project_config=ProjectConfiguration(project_dir=str(output), logging_dir=str(output)),
            log_with="tensorboard",
        )
        try:
            accelerator.init_trackers("events")
            trainer = Trainer(
                config,
                output,
                accelerator,
                say,
                start_from=start_from,
                reset_head=reset_head,
                resume=resume,
            )
            if warning is not None:
                trainer.say(f"warning: {warning}")
            with on_sigterm(trainer.stop):
                return trainer.run()
        except RuntimeError as error:
            if accelerator.num_processes > 1 and means_lost_process(error):
                raise lost_process(output, error) from error
            raise
        finally:
            accelerator.end_training()
            AcceleratorState._reset_state(reset_partial_state=True)  # the next run may differ


def draw_samples(folder: RunFolder, predictor: Predictor, dataset: Dataset) -> None:
    """Pictures of what the model sees in a few validation pictures."""
    threshold = predictor.card.config.test.show_threshold
    for index in range(min(SAMPLES, len(dataset))):
        image = dataset.image(index)
        shown = threshold if predictor.task == "instance" else None
        result = predictor.segment(image, predictor.task, shown)
        folder.save_sample(Path(dataset.file(index)).stem, image, result, predictor.categories)


def describe(report: Report) -> str:
    """The figures of an evaluation in one line."""
    figures = "  ".join(f"{name} {value:.4f}" for name, value in report.summary.items())
    return f"{figures}  ({report.pictures} pictures, {report.seconds:.0f} s)"
