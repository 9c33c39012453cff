"""The bundled model `nuclei` by kind of microscopy: AP, and how many nuclei it counts.

python benchmarks/nuclei.py FOLDER [key=value ...]     (overrides of the settings)

`data.fold=[0, 8]` takes the training pictures that were held back when settings were chosen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

import mask2former
from mask2former.build import build_split
from mask2former.config import override_config
from mask2former.metrics import Metric, for_task

SCORES = (0.5, 0.6, 0.7, 0.8)


class Group:
    """Pictures of one kind: their AP, and counts at every score."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.pictures = 0
        self.true: list[int] = []
        self.found: list[list[int]] = []

    def row(self, name: str) -> str:
        """A line of the table."""
        figures = self.metric.compute()
        found, true = np.array(self.found), np.array(self.true)[:, None]
        errors = np.abs(found - true).sum(0) / true.sum()
        cells = [f"{n} ({e:.0%})" for n, e in zip(found.sum(0).tolist(), errors, strict=True)]
        told = [f"{figures[key]:.3f}" for key in ("AP", "AP50", "AP75")]
        return " | ".join(["", name, str(len(true)), *told, str(true.sum()), *cells, ""]).strip()


def main(root: Path, settings: list[str]) -> None:
    """Predict every picture once, and print the table."""
    torch.set_num_threads(1)
    predictor = mask2former.load("nuclei", device="cpu")
    config = override_config(predictor.card.config, [f"data.root={root}", *settings])
    predictor = predictor.with_settings(*(s for s in settings if s.startswith("test.")))
    split = build_split(config.data, "val", "instance", predictor.categories)
    source = config.data.train if config.data.fold else config.data.val
    document = json.loads((root / str(source.annotations)).read_text(encoding="utf-8"))
    modality = {image["file_name"]: image["modality"] for image in document["images"]}
    groups: dict[str, Group] = {}
    for index in range(len(split)):
        found = predictor.segment(split.image(index), "instance")
        truth = split.truth(index)
        for name in (modality[Path(split.file(index)).name], "all"):
            new = Group(for_task("instance", predictor.categories, config.test.max_detections))
            group = groups.setdefault(name, new)
            group.metric.update(found, truth)
            group.true.append(len(truth.instances or ()))
            group.found.append([int((found.scores >= score).sum()) for score in SCORES])
    print("| pictures | | AP | AP50 | AP75 | nuclei |", *(f"found at {s} |" for s in SCORES))
    print("| --- " * (6 + len(SCORES)) + "|")
    for name in sorted(groups, key=lambda name: (name == "all", name)):
        print(groups[name].row(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
