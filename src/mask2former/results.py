"""What a prediction gives a person: the plain result with its picture and class names.

Frames are kept only for clips: a picture's masks are (N, H, W), its maps (H, W), a clip's masks
(N, T, H, W), its maps (T, H, W).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mask2former import rle
from mask2former.categories import Categories
from mask2former.files import write_label_map
from mask2former.render import overlay
from mask2former.saving.coco import result_entries
from mask2former.saving.geojson import geojson_document
from mask2former.saving.labelme import labelme_document
from mask2former.saving.regions import regions, size_of
from mask2former.saving.yolo import yolo_lines
from mask2former.saving.youtube_vis import track_entries
from mask2former.structures import Instances, Panoptic, Segment, SemanticMap


@dataclass(frozen=True, repr=False)
class PictureResult:
    """What all results share."""

    image: np.ndarray  # (H, W, 3) uint8, RGB; of a clip (T, H, W, 3)
    name: str
    categories: Categories
    plain: SemanticMap | Instances | Panoptic

    def __repr__(self) -> str:
        """The kind, the name, the size and what was found, in a line."""
        size = " x ".join(map(str, self.image.shape[:-1]))
        return f"<{type(self).__name__} {self.name}, {size}: {self.summary()}>"

    def _repr_png_(self) -> bytes | None:
        """What notebooks show of a picture."""
        if self.image.ndim == 4:
            return None
        stream = BytesIO()
        self.draw().save(stream, "PNG")
        return stream.getvalue()

    def draw(self, frame: int = 0) -> Image.Image:
        """The picture, or one frame of the clip, with the result over it, and a legend."""
        image = self.image if self.image.ndim == 3 else self.image[frame]
        return overlay(image, self.plain, self.categories, frame)

    def save(self, path: str | Path) -> Path:
        """Write the drawn picture; the ending of the name tells the format.

        Of a clip, `path` is a folder, which gets a numbered PNG for every frame.
        """
        path = Path(path)
        if self.image.ndim == 4:
            path.mkdir(parents=True, exist_ok=True)
            for frame in range(len(self.image)):
                self.draw(frame).save(path / f"{frame:05d}.png")
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.draw().save(path)
        return path

    def to_geojson(self) -> dict[str, Any]:
        """A GeoJSON FeatureCollection of the regions, in pixels with y down."""
        return geojson_document(self.plain, self.categories, self.name)

    def to_labelme(self) -> dict[str, Any]:
        """The document that labelme reads beside the picture; holes are filled."""
        return labelme_document(self.plain, self.categories, self.name)

    def to_yolo(self) -> str:
        """YOLO's text: a line a region, its class and one polygon in shares of the sides."""
        return yolo_lines(self.plain)

    def to_supervision(self) -> Any:
        """The regions as `supervision.Detections`; ValueError where supervision is missing."""
        try:
            from supervision import Detections  # pyrefly: ignore[missing-import]
        except ImportError:
            raise ValueError(
                "to_supervision() needs the package supervision; `pip install supervision`"
            ) from None
        found = list(regions(self.plain))
        masks = np.zeros((len(found), *size_of(self.plain)), bool)
        for mask, region in zip(masks, found, strict=True):
            mask[region.rows, region.columns] = region.pixels
        boxes = np.array([region.box for region in found], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([region.label for region in found], int)
        scores = [region.score for region in found]
        return Detections(
            xyxy=boxes,
            mask=masks,
            class_id=labels,
            confidence=None if None in scores else np.array(scores, np.float32),
            data={"class_name": np.array(self.categories.names)[labels]},
        )

    def count(self) -> Counter[str]:
        """How many regions of each class there are, the commonest first."""
        names = self.categories.names
        return Counter(names[label] for label in self._region_labels())

    def _region_labels(self) -> list[int]:
        raise NotImplementedError

    def to_coco(self, image_id: int = 1) -> list[dict]:
        """COCO results: one dict with category and RLE, and a score where there is one, a region.

        COCO's own `loadRes` takes the list, as JSON, for the annotations with this `image_id`.
        """
        raise NotImplementedError

    def _of_picture(self, frames: np.ndarray, axis: int) -> np.ndarray:
        """Leave out the axis of frames where the source was a picture, and no clip."""
        return frames.squeeze(axis) if self.image.ndim == 3 else frames

    def summary(self) -> str:
        """The counts in a few words."""
        counts = [f"{number} {name}" for name, number in self.count().most_common()]
        more = f", +{len(counts) - 6} more" if len(counts) > 6 else ""
        return ", ".join(counts[:6]) + more if counts else "nothing found"


@dataclass(frozen=True, repr=False)
class InstanceResult(PictureResult):
    """Scored masks, best first."""

    plain: Instances

    @property
    def masks(self) -> np.ndarray:
        """(N, H, W) bool."""
        return self._of_picture(self.plain.masks, axis=1)

    @property
    def labels(self) -> np.ndarray:
        """(N,) positions in `categories`."""
        return self.plain.labels

    @property
    def scores(self) -> np.ndarray:
        """(N,) in 0..1."""
        return self.plain.scores

    @property
    def names(self) -> list[str]:
        """The N names of their classes."""
        return [self.categories[int(label)].name for label in self.labels]

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) float32: left, top, right, bottom in pixels, of a clip around all its frames."""
        corners = np.array([mask.corner for mask in self.plain.boxed], np.float32).reshape(-1, 3)
        sizes = np.array([mask.size for mask in self.plain.boxed], np.float32).reshape(-1, 3)
        return np.concatenate([corners[:, :0:-1], (corners + sizes)[:, :0:-1]], axis=1)

    @property
    def areas(self) -> np.ndarray:
        """(N,) int64 pixels, of a clip in all its frames."""
        return np.array([mask.area for mask in self.plain.boxed], np.int64)

    def __len__(self) -> int:
        return len(self.plain.scores)

    def filter(self, score: float = 0.0) -> InstanceResult:
        """The instances with at least this score."""
        return replace(self, plain=self.plain.select(self.plain.scores >= score))

    def to_coco(self, image_id: int = 1) -> list[dict]:
        """COCO results: one dict with category, score and RLE per instance."""
        return list(result_entries(self.plain, self.categories, image_id))

    def to_youtube_vis(self, video_id: int = 1) -> list[dict]:
        """YouTube-VIS results: one dict with category, score and an RLE a frame per object."""
        return list(track_entries(self.plain, self.categories, video_id))

    def _region_labels(self) -> list[int]:
        return self.labels.tolist()


@dataclass(frozen=True, repr=False)
class PanopticResult(PictureResult):
    """One segment per pixel."""

    plain: Panoptic

    @property
    def ids(self) -> np.ndarray:
        """(H, W) int32; 0 is void."""
        return self._of_picture(self.plain.ids, axis=0)

    @property
    def segments(self) -> list[Segment]:
        """What the ids are."""
        return self.plain.segments

    def filter(self, score: float = 0.0) -> PanopticResult:
        """The segments with at least this score; the pixels of the others become void."""
        kept = [segment for segment in self.segments if segment.score >= score]
        alive = np.isin(self.plain.ids, [segment.id for segment in kept])
        return replace(self, plain=Panoptic(np.where(alive, self.plain.ids, 0), kept))

    def to_coco(self, image_id: int = 1) -> list[dict]:
        """COCO results with an RLE per segment."""
        return [
            {
                "image_id": image_id,
                "category_id": self.categories[segment.label].id,
                "segmentation": rle.encode_clip(self.plain.ids == segment.id),
                "score": segment.score,
            }
            for segment in self.segments
        ]

    def _region_labels(self) -> list[int]:
        return [segment.label for segment in self.segments]


@dataclass(frozen=True, repr=False)
class SemanticResult(PictureResult):
    """One class per pixel."""

    plain: SemanticMap

    @property
    def labels(self) -> np.ndarray:
        """(H, W) positions in `categories`."""
        return self._of_picture(self.plain.labels, axis=0)

    def save(self, path: str | Path) -> Path:
        """Write the drawn picture, or the bare label map where the name ends in `.labels.png`."""
        if not str(path).endswith(".labels.png"):
            return super().save(path)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_label_map(path, self.labels)
        return Path(path)

    def summary(self) -> str:
        """The largest classes with their share of the pixels."""
        labels, areas = np.unique(self.plain.labels, return_counts=True)
        order = np.argsort(-areas)[:6]
        total = self.plain.labels.size
        return ", ".join(
            f"{self.categories[int(labels[k])].name} {areas[k] / total:.0%}" for k in order
        )

    def to_coco(self, image_id: int = 1) -> list[dict]:
        """COCO results with an RLE per class."""
        return [
            {
                "image_id": image_id,
                "category_id": self.categories[int(label)].id,
                "segmentation": rle.encode_clip(self.plain.labels == label),
            }
            for label in np.unique(self.plain.labels)
        ]

    def _region_labels(self) -> list[int]:
        return np.unique(self.plain.labels).tolist()


def wrap(
    image: np.ndarray, name: str, categories: Categories, plain: SemanticMap | Instances | Panoptic
) -> PictureResult:
    """The result a person works with, of the kind that fits."""
    match plain:
        case Instances():
            return InstanceResult(image, name, categories, plain)
        case Panoptic():
            return PanopticResult(image, name, categories, plain)
        case SemanticMap():
            return SemanticResult(image, name, categories, plain)
