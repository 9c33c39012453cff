"""Train several networks for the same time on the same pictures, and measure them alike.

python benchmarks/quality/run.py tiny/camvid CSV data.root=camvid --contender ours --minutes 10

The time is that of the processor in one thread (so other work on the machine does not count), from
the first batch to the last step; the learning rate falls with it. Rows are added to the CSV.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from argparse import ArgumentParser
from pathlib import Path

import torch

from contenders import build, names
from mask2former.build import build_augmentation, build_splits
from mask2former.config import load_config
from mask2former.data import Cached, training_loader
from mask2former.engine.evaluate import evaluate

WARM = 0.03
"""The part of the time in which the learning rate rises."""
FIELDS = ("recipe", "contender", "seed", "minutes", "steps", "measure", "value", "settings")


def main() -> None:
    """Train one contender, measure it, write a row."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("csv", type=Path)
    parser.add_argument("settings", nargs="*", help="dotted overrides of the recipe")
    parser.add_argument("--contender", choices=names(), default="ours")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    config = load_config(asked.recipe, [*asked.settings, f"train.seed={asked.seed}"])
    train_set, val_set = build_splits(config.data, config.test.task)
    contender = build(asked.contender, config, train_set.categories)
    batches = iter(
        training_loader(
            Cached(train_set, config.data.cache_mb),
            build_augmentation(config.data.augmentation),
            config.train.batch_size,
            seed=asked.seed,
            workers=0,
        )
    )
    budget, began, step, loss = 60 * asked.minutes, time.process_time(), 0, math.nan
    while (spent := time.process_time() - began) < budget:
        part = spent / budget
        rate = min(part / WARM, 1.0) * (1 + math.cos(math.pi * part)) / 2
        loss = contender.learn(next(batches), step, max(rate, 1e-3))
        step += 1
        if step % 20 == 0:
            print(f"{asked.contender} step {step} loss {loss:.3f} {part:.0%}", flush=True)
    report = evaluate(contender.predictor(), val_set, config.test.task)
    measure, value = next(iter(report.summary.items()))
    print(asked.contender, report.summary)
    known = asked.csv.is_file()
    with asked.csv.open("a", newline="") as file:
        writer = csv.writer(file)
        if not known:
            writer.writerow(FIELDS)
        others = " ".join(s for s in asked.settings if not s.startswith("data.root="))
        row = [asked.recipe, asked.contender, asked.seed, asked.minutes, step, measure]
        writer.writerow([*row, f"{value:.4f}", others])


if __name__ == "__main__":
    sys.exit(main())
