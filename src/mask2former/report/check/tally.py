"""Counts of a split: pictures, objects, classes, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mask2former.categories import Categories
from mask2former.config import Config
from mask2former.data.transforms import shorten
from mask2former.report.check.look import Seen

EDGES = (4, 8, 16, 32, 64, 128, 256)
"""Pixels of an object's side at the network's size, between which objects are counted."""


@dataclass
class Tally:
    """What the pictures of a split hold."""

    pictures: int = 0
    bare: int = 0  # without a target
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # height, width
    objects: Counter[int] = field(default_factory=Counter)  # label -> targets
    showing: Counter[int] = field(default_factory=Counter)  # label -> pictures
    per_picture: Counter[int] = field(default_factory=Counter)  # targets -> pictures
    by_side: Counter[int] = field(default_factory=Counter)  # place in EDGES -> targets

    def add(self, seen: Seen, config: Config) -> None:
        """Count one more picture."""
        self.pictures += 1
        self.bare += not seen.labels
        self.sizes[seen.size] += 1
        self.objects.update(seen.labels)
        self.showing.update(set(seen.labels))
        self.per_picture[len(seen.labels)] += 1
        network = shorten(seen.size, config.test.short_edge, config.test.max_size)
        scale = network[0] / seen.size[0]
        sides = np.searchsorted(EDGES, np.array(seen.sides) * scale, side="right")
        self.by_side.update(sides.tolist())

    @property
    def most(self) -> int:
        """The most targets of a picture."""
        return max(self.per_picture, default=0)

    def smaller_than(self, side: int) -> int:
        """Targets whose side at the network's size is below an edge."""
        return sum(count for place, count in self.by_side.items() if place <= EDGES.index(side))

    def to_json(self, categories: Categories) -> dict[str, object]:
        """Plain figures, the classes by name."""
        return {
            "pictures": self.pictures,
            "without_objects": self.bare,
            "objects": self.objects.total(),
            "most_objects": self.most,
            "classes": {
                category.name: {"objects": self.objects[label], "pictures": self.showing[label]}
                for label, category in enumerate(categories)
            },
            "sides": dict(zip(side_names(), by_place(self.by_side), strict=True)),
        }


def side_names() -> list[str]:
    """The names of the bins of objects' sides."""
    pairs = zip((0, *EDGES[:-1]), EDGES, strict=True)
    return [*(f"{low} to {high}" for low, high in pairs), f"{EDGES[-1]} and more"]


def by_place(counts: Counter[int], places: Sequence[int] = range(len(EDGES) + 1)) -> list[int]:
    """The counts in the order of their bins."""
    return [counts[place] for place in places]
