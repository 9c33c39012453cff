"""Classes joined and left out: a view of any data set, for its targets and its truth alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torchvision import tv_tensors

from mask2former import rle
from mask2former.categories import Categories, Task
from mask2former.config.recipes import nearest
from mask2former.data.dataset import Dataset, View
from mask2former.faults import excerpt
from mask2former.structures import IGNORE, Sample, TrueInstance, TrueSegment, Truth


class Relabelled(View):
    """A data set under other classes.

    `merge` tells of which classes each new one is made; it stands where the first of them stood,
    and is a thing if all of them are. Classes in `ignore` count for nobody: they are no targets,
    their pixels are not measured, and detections on them are forgiven. `wanted` gives the order of
    the labels (a trained model's). `task` tells whether a target is a class (semantic).
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        merge: Mapping[str, Sequence[str]],
        ignore: Collection[str],
        task: Task,
        wanted: Categories | None = None,
    ) -> None:
        super().__init__(dataset)
        own, names = join_classes(dataset.categories, merge, ignore)
        self.categories = own if wanted is None else own.in_order_of(wanted)
        label_of = {name: label for label, name in enumerate(self.categories.names)}
        # By old label; the last is for IGNORE, which is -1.
        labels = [IGNORE if name is None else label_of[name] for name in (*names, None)]
        self._labels = np.array(labels, np.int16)
        # Of such a class a picture has one target and one segment, whatever it was made of.
        self._single = self.categories.single(task)

    def class_map(self, index: int) -> np.ndarray:
        return self._labels[self.dataset.class_map(index)]

    def labels(self, index: int) -> list[int]:
        labels = self._labels[np.array(self.dataset.labels(index), int)]
        return labels[labels != IGNORE].tolist()

    def sample(self, index: int) -> Sample:
        sample = self.dataset.sample(index)
        layers = sample["ids"].shape[0]
        number_of: dict[tuple, int] = {}
        numbers, new_labels = [0], []
        for place, label in enumerate(self._labels[sample["labels"].numpy()].tolist()):
            # What overlaps lies in several layers, and an id in one only: it is not joined.
            key = (label,) if label in self._single and layers == 1 else (label, place)
            if label != IGNORE and key not in number_of:
                number_of[key] = len(number_of) + 1
                new_labels.append(label)
            numbers.append(number_of.get(key, 0))
        ids = torch.tensor(numbers, dtype=sample["ids"].dtype)[sample["ids"].long()]
        changed = sample.copy()
        changed["ids"] = tv_tensors.wrap(ids, like=sample["ids"])
        changed["labels"] = torch.tensor(new_labels, dtype=torch.int64)
        return changed

    def truth(self, index: int) -> Truth:
        old = self.dataset.truth(index)
        new = old
        if old.semantic is not None:
            new = replace(new, semantic=self._labels[old.semantic])
        if old.panoptic is not None:
            panoptic, segments = self._join_segments(old.panoptic, old.segments)
            new = replace(new, panoptic=panoptic, segments=segments)
        if old.instances is not None:
            nobody = self._pixels_of_nobody(old)
            void = nobody if old.void is None else old.void | nobody
            instances = self._relabel_objects(old, nobody)
            new = replace(new, instances=instances, void=void)
        return new

    def _join_segments(
        self, panoptic: np.ndarray, segments: Sequence[TrueSegment]
    ) -> tuple[np.ndarray, list[TrueSegment]]:
        """The map and its segments, with those of one kind of stuff as one."""
        kept: dict[tuple, TrueSegment] = {}
        number_of = np.zeros(max(int(panoptic.max(initial=0)), *(s.id for s in segments), 0) + 1)
        for segment in segments:
            label = int(self._labels[segment.label])
            if label == IGNORE:
                continue
            parts = (label, segment.is_crowd) if label in self._single else (label, segment.id)
            one = kept.get(parts, TrueSegment(segment.id, label, 0, segment.is_crowd))
            kept[parts] = one._replace(area=one.area + segment.area)
            number_of[segment.id] = one.id
        return number_of[panoptic].astype(panoptic.dtype), list(kept.values())

    def _pixels_of_nobody(self, old: Truth) -> np.ndarray:
        """Where an ignored class lies and no other object: bool (H, W)."""
        nobody = np.zeros(old.size, bool)
        if old.semantic is not None:
            return (self._labels[old.semantic] == IGNORE) & (old.semantic != IGNORE)
        objects = old.instances or []
        for found in objects:
            if self._labels[found.label] == IGNORE:
                nobody |= rle.decode(found.rle)
        if nobody.any():
            for found in objects:
                if self._labels[found.label] != IGNORE:
                    nobody &= ~rle.decode(found.rle)
        return nobody

    def _relabel_objects(self, old: Truth, nobody: np.ndarray) -> list[TrueInstance]:
        """The objects of the new classes, and crowds of every class where nobody counts.

        A crowd forgives detections of its class, by COCO's rules, and misses none.
        """
        things = [label for label, category in enumerate(self.categories) if category.is_thing]
        objects = [
            found._replace(label=int(self._labels[found.label]))
            for found in old.instances or ()
            if self._labels[found.label] in things
        ]
        if nobody.any():
            mask = rle.encode(nobody)
            crowd = TrueInstance(mask, 0, rle.area(mask), is_crowd=True)
            objects += [crowd._replace(label=label) for label in things]
        return objects


def join_classes(
    categories: Categories, merge: Mapping[str, Sequence[str]], ignore: Collection[str]
) -> tuple[Categories, list[str | None]]:
    """The new classes, and the new name of every old label; None where it counts for nobody.

    Raises ValueError with the nearest name where a class is unknown, or is used twice.
    """
    known = categories.names
    new_name: dict[str, str | None] = {}
    for setting, new, names in (
        ("ignore_classes", None, ignore),
        *((f"merge.{new}", new, names) for new, names in merge.items()),
    ):
        if not names and new is not None:
            raise ValueError(f"data.{setting} names no class to make it of")
        for name in names:
            if name not in known:
                raise ValueError(
                    f"data.{setting}: the data has no class {excerpt(name)}{nearest(name, known)}"
                )
            if name in new_name:
                raise ValueError(f"data.{setting}: the class {name!r} is used before; use it once")
            new_name[name] = new
    names = [new_name.get(name, name) for name in known]
    parts: dict[str, list] = {}
    for category, name in zip(categories, names, strict=True):
        if name is not None:
            parts.setdefault(name, []).append(category)
    if not parts:
        raise ValueError("data.ignore_classes leaves no class")
    return Categories(
        replace(found[0], name=name, is_thing=all(category.is_thing for category in found))
        for name, found in parts.items()
    ), names
