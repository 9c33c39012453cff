"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration
from torch import Tensor

from mask2former.build import build_augmentation, build_criterion, build_model, build_splits
from mask2former.checkpoint import ModelCard, load_card, save_card, save_model
from mask2former.config import Config
from mask2former.data import Cached, Dataset, training_loader
from mask2former.engine import state
from mask2former.engine.evaluate import Report, evaluate
from mask2former.engine.optimizer import build_optimizer, learning_rate_factor
from mask2former.engine.predict import Predictor
from mask2former.engine.start import initialise_backbone, take_over_weights
from mask2former.loss.criterion import Normalisers
from mask2former.model.mask2former import Mask2Former
from mask2former.report.run_folder import RunFolder, format_seconds
from mask2former.structures import Batch

LONGEST_EVALUATION = timedelta(hours=6)  # the other processes wait for the one that measures
SAMPLES = 4
"""How many validation pictures are drawn after each evaluation."""


class DivergedError(ValueError):
    """The loss is no longer a number."""


class Trainer:
    """One run into one folder.

    `say` hears every line meant for a person; `resume` goes on from the folder's last checkpoint.
    """

    def __init__(
        self, config: Config, output: Path, accelerator: Accelerator, say: Callable[[str], None]
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.folder = RunFolder(output)
        self._say = say
        self.progress = state.Progress()
        torch.manual_seed(config.train.seed)
        self.train_set, self.val_set = build_splits(config.data, config.test.task)
        self.card = ModelCard(config, self.train_set.categories)
        model = build_model(config.model, len(self.train_set.categories))
        self.criterion = build_criterion(config.loss)
        optimizer = build_optimizer(model, config.train)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.factor = learning_rate_factor(config.train.schedule, config.train.steps)
        accelerator.register_for_checkpointing(self.progress)

    @property
    def network(self) -> Mask2Former:
        """The bare network."""
        network = self.accelerator.unwrap_model(self.model)
        assert isinstance(network, Mask2Former)
        return network

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
        self.say(
            f"{len(self.train_set)} training and {len(self.val_set)} validation pictures, "
            f"{len(self.card.categories)} classes; "
            f"{sum(p.numel() for p in self.network.parameters()) / 1e6:.1f} M parameters on "
            f"{self.accelerator.device}; steps {self.progress.step} to {train.steps}"
        )
        began = time.perf_counter() - self.progress.seconds
        window: list[dict[str, Tensor]] = []
        for batch in self.batches():
            terms, norm = self.take_step(batch)
            self.progress.step += 1
            self.progress.seconds = time.perf_counter() - began
            window.append(terms)
            step = self.progress.step
            if step % train.log_every == 0 or step == train.steps:
                self.log(window, norm)
                window.clear()
            if step % train.evaluate_every == 0 or step == train.steps:
                self.evaluate()
                began = time.perf_counter() - self.progress.seconds
            if step % train.save_every == 0 or step == train.steps:
                self.save()
        return self.folder.path

    def batches(self) -> Iterator[Batch]:
        """The batches from the current step to the last."""
        train, data = self.config.train, self.config.data
        world = self.accelerator.num_processes
        if train.batch_size % (world * train.accumulation):
            raise ValueError(
                f"train.batch_size={train.batch_size} cannot be shared by {world} processes in "
                f"{train.accumulation} micro-batches"
            )
        loader = training_loader(
            Cached(self.train_set, data.cache_mb / max(data.workers, 1)),
            build_augmentation(data.augmentation),
            train.batch_size // world,
            seed=train.seed,
            start=self.progress.step * train.batch_size,
            workers=data.workers,
            rank=self.accelerator.process_index,
            world=world,
        )
        endless = iter(loader)
        for _ in range(self.progress.step, train.steps):
            yield next(endless).to(self.accelerator.device)

    def take_step(self, batch: Batch) -> tuple[dict[str, Tensor], float]:
        """One optimiser step, in micro-batches: the loss terms and the gradient's norm."""
        train = self.config.train
        self.model.train()
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * self.factor(self.progress.step)
        seeds = self.draw_seeds(len(batch.targets))
        size = len(batch.targets) // train.accumulation
        totals: dict[str, Tensor] = {}
        for start in range(0, len(batch.targets), size):
            part = slice(start, start + size)
            last = start + size >= len(batch.targets)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                terms = self.losses(batch, part, seeds[part])
                self.accelerator.backward(torch.stack(list(terms.values())).sum())
            for name, term in terms.items():
                totals[name] = totals.get(name, 0.0) + term.detach()
        self.check(totals, batch)
        limit = math.inf if train.clip is None else train.clip
        gradient = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        norm = math.nan if gradient is None else float(gradient)
        # Loss scaling overflows now and then; the scaler then leaves the step out by itself.
        if not math.isfinite(norm) and self.accelerator.scaler is None:
            raise self.diverged("the gradient is not finite", batch)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return totals, norm

    def losses(self, batch: Batch, part: slice, seeds: Sequence[int]) -> dict[str, Tensor]:
        """The loss terms of a micro-batch, each divided by what the whole batch counts."""
        predictions = self.model(batch.images[part].float())  # prepared with its precision
        normalisers = self.reduce_normalisers(batch, predictions[0].class_logits.shape[1])
        try:
            return self.criterion(predictions, batch.targets[part], normalisers, seeds)
        except FloatingPointError as error:
            raise self.diverged(str(error), batch) from None

    def reduce_normalisers(self, batch: Batch, queries: int) -> Normalisers:
        """The divisors of the whole batch, over processes; gradients are averaged over these."""
        own = self.criterion.normalisers(batch.targets, queries)
        if self.accelerator.num_processes == 1:
            return own
        both = torch.tensor(own, device=self.accelerator.device)
        masks, classes = self.accelerator.reduce(both, "mean").tolist()
        return Normalisers(masks, classes)

    def draw_seeds(self, count: int) -> list[int]:
        """One key per picture for its random points: equal for any number of processes."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        places = (rank + world * i for i in range(count))  # as the sampler deals pictures out
        keys = ((self.config.train.seed, self.progress.step, place) for place in places)
        return [
            int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1) for key in keys
        ]

    def check(self, terms: dict[str, Tensor], batch: Batch) -> None:
        """Stop before a bad gradient reaches the weights."""
        if not torch.isfinite(torch.stack(list(terms.values()))).all():
            bad = [name for name, term in terms.items() if not torch.isfinite(term)]
            raise self.diverged(f"{', '.join(bad)} are not finite", batch)

    def diverged(self, what: str, batch: Batch) -> DivergedError:
        """The sentence that says where to look."""
        return DivergedError(
            f"step {self.progress.step + 1}: {what}, with the pictures {', '.join(batch.names)}; "
            "the last checkpoint is whole: look at these pictures and their labels, or train on "
            "with a lower train.learning_rate"
        )

    def log(self, window: Sequence[dict[str, Tensor]], norm: float) -> None:
        """Write the mean figures of the last steps."""
        step, steps = self.progress.step, self.config.train.steps
        mean = torch.stack([torch.stack(list(terms.values())) for terms in window]).mean(0)
        terms = dict(zip(window[0], mean.tolist(), strict=True))
        loss = sum(terms.values())
        rate = step / self.progress.seconds
        left = format_seconds((steps - step) / rate)
        last = {name: terms[name] for name in ("loss_ce", "loss_mask", "loss_dice")}
        learning_rate = max(group["lr"] for group in self.optimizer.param_groups)
        self.say(
            f"step {step}/{steps}  loss {loss:.3f}  "
            + "  ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in last.items())
            + f"  lr {learning_rate:.1e}"
            + f"  {rate:.2f} steps/s  left {left}"
        )
        if self.accelerator.is_main_process:
            figures = {"loss": loss, **last, "gradient_norm": norm}
            self.folder.record(
                step,
                {**figures, "learning_rate": learning_rate, "seconds": self.progress.seconds},
            )
            self.accelerator.log(figures, step=step)

    def evaluate(self) -> None:
        """Measure the validation set; keep the model if it is the best so far."""
        if self.accelerator.is_main_process and len(self.val_set):
            # A copy: the prepared network computes in the training's precision.
            network = build_model(self.config.model, len(self.card.categories))
            network.load_state_dict(self.network.state_dict())
            predictor = Predictor(network, self.card, self.accelerator.device)
            task = self.config.test.task
            report = evaluate(predictor, self.val_set, task)
            self.say(f"step {self.progress.step}  validation: {describe(report)}")
            self.folder.record(self.progress.step, {"validation": report.summary})
            self.accelerator.log(report.summary, step=self.progress.step)
            draw_samples(self.folder, predictor, self.val_set)
            self.folder.plot()
            if report.headline >= self.progress.best:
                self.progress.best = report.headline
                metrics = {
                    "validation": report.summary,
                    "protocol": report.protocol,
                    "step": self.progress.step,
                }
                self.card = replace(self.card, metrics=metrics)
                save_model(self.folder.path, network, self.card)
        self.accelerator.wait_for_everyone()

    def save(self) -> None:
        """Write the whole state."""
        state.save(self.accelerator, self.folder.path)

    def resume(self) -> None:
        """Go on from the last checkpoint of the folder."""
        state.load(self.accelerator, self.folder.path)
        self.card = replace(self.card, metrics=load_card(self.folder.path).metrics)


def train(
    config: Config,
    output: Path,
    *,
    device: torch.device,
    resume: bool = False,
    start_from: str | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train a recipe into a run folder, which is then a model folder too.

    `start_from` names a model whose weights are taken over where they fit.
    """
    if resume and start_from is not None:
        raise ValueError("--resume goes on from the run's own weights; leave --from out")
    if not resume and state.find(output) is not None:
        raise ValueError(
            f"{output} holds a run already; give --resume to go on with it, or another --output"
        )
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    if device.index is not None:
        torch.cuda.set_device(device)
    accelerator = Accelerator(
        mixed_precision={"fp32": "no"}.get(config.train.precision, config.train.precision),
        cpu=device.type == "cpu",
        project_config=ProjectConfiguration(project_dir=str(output), logging_dir=str(output)),
        log_with="tensorboard",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_EVALUATION)],
    )
    accelerator.init_trackers("events")
    trainer = Trainer(config, output, accelerator, say)
    if resume:
        trainer.resume()
    elif start_from is not None:
        take_over_weights(trainer.network, start_from, trainer.say)
    else:
        initialise_backbone(trainer.network, config.model.backbone, trainer.say)
    try:
        return trainer.run()
    finally:
        accelerator.end_training()


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
