"""Objects on top of label maps: what each pixel's class is, and which pixels are one object."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mask2former import rle
from mask2former.categories import Categories, Task
from mask2former.data.dataset import Dataset, as_sample
from mask2former.data.semantic import LabelMaps
from mask2former.structures import IGNORE, Sample, TrueInstance, TrueSegment, Truth

SPECK = 16
"""Connected regions of fewer pixels are slips of the annotator's brush, and nobody's."""
TOUCHING = np.ones((3, 3), int)
"""Pixels that meet at a corner belong together."""


class Regions(NamedTuple):
    """What is where in one picture."""

    ids: np.ndarray  # (H, W) int32: 1, 2, ... in the order of the segments; 0 is nobody
    segments: list[TrueSegment]
    void: np.ndarray  # (H, W) bool: where detections are forgiven


class RegionMaps(Dataset):
    """Label maps whose things are told apart; `task` tells what a training target is.

    That is an object (instance), or an object or a kind of stuff (panoptic). `wanted` gives the
    order of the labels (a trained model's).
    """

    def __init__(self, classes: LabelMaps, *, task: Task, wanted: Categories | None = None) -> None:
        self.classes = classes
        self.task = task
        known = classes.categories
        own = known
        if task == "instance":
            own = Categories(category for category in known if category.is_thing)
        self.categories = own if wanted is None else own.in_order_of(wanted)
        label_of = {name: label for label, name in enumerate(self.categories.names)}
        # By the label in the maps; the last is for IGNORE. Stuff is no class of instances.
        places = [label_of.get(one.name, IGNORE) if one in own else IGNORE for one in known]
        self._label_of = np.array([*places, IGNORE], np.int16)

    @abstractmethod
    def regions(self, index: int) -> Regions:
        """Tell the regions of one picture apart."""

    def __len__(self) -> int:
        return len(self.classes)

    def file(self, index: int) -> Path:
        return self.classes.file(index)

    def sample(self, index: int) -> Sample:
        image = self.image(index)
        ids, segments, _ = self.regions(index)
        if image.shape[:2] != ids.shape:
            pair = f"{self.file(index)} and {self.classes.map_file(index)}"
            raise ValueError(f"{pair} are not of one size: {image.shape[:2]} and {ids.shape}")
        labels = [segment.label for segment in segments]
        return as_sample(image[None], ids[None, None], labels, self.classes.name(index))

    def truth(self, index: int) -> Truth:
        ids, segments, void = self.regions(index)
        objects = [
            TrueInstance(rle.encode(ids == s.id), s.label, s.area, is_crowd=False)
            for s in segments
            if self.categories[s.label].is_thing
        ]
        if self.task == "instance":
            return Truth(ids.shape, instances=objects, void=void)
        semantic = self._label_of[self.classes.class_map(index)]
        return Truth(ids.shape, semantic, objects, ids, segments, void)

    def with_stuff(self, things: np.ndarray, labels: np.ndarray, of_thing: list[int]) -> Regions:
        """The ids of things (H, W), whose labels are `of_thing`, and one region a kind of stuff.

        Labels are those of the maps, and void is what they ignore. Instances are the things alone.
        """
        ids, found = things, list(of_thing)
        is_thing = np.array([*self.classes.categories.is_thing, True])  # the last is for IGNORE
        for label in np.unique(labels[~is_thing[labels]]).tolist():
            if self.task != "instance":
                found.append(label)
                ids[(labels == label) & (ids == 0)] = len(found)
        areas = np.bincount(ids.ravel(), minlength=len(found) + 1)[1:].tolist()
        segments = [
            TrueSegment(number, int(self._label_of[label]), area, is_crowd=False)
            for number, (label, area) in enumerate(zip(found, areas, strict=True), start=1)
        ]
        return Regions(ids, segments, (labels == IGNORE) & (ids == 0))


class Separated(RegionMaps):
    """Label maps where every connected region of a thing's class is taken for an object.

    So objects are derived, not annotated: what touches becomes one, what a pole cuts becomes two.
    """

    def regions(self, index: int) -> Regions:
        labels = self.classes.class_map(index)
        ids, of_thing = np.zeros(labels.shape, np.int32), []
        specks = np.zeros(labels.shape, bool)
        for label, category in enumerate(self.classes.categories):
            if not category.is_thing:
                continue
            parts, count = ndimage.label(labels == label, TOUCHING)
            areas = np.bincount(parts.ravel(), minlength=count + 1)
            large = 1 + np.flatnonzero(areas[1:] >= SPECK)
            number = np.zeros(count + 1, np.int32)
            number[large] = len(of_thing) + 1 + np.arange(len(large))
            specks |= (parts > 0) & (number[parts] == 0)
            ids += number[parts]
            of_thing += [label] * len(large)
        found = self.with_stuff(ids, labels, of_thing)
        return found._replace(void=found.void | specks)
