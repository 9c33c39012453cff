"""Read annotated pictures in the field's formats and turn them into training batches."""

from mask2former.data.cityscapes import Cityscapes
from mask2former.data.class_maps import ClassMaps, PaintedObjects
from mask2former.data.coco import CocoInstances
from mask2former.data.dataset import Cached, Dataset, Subset
from mask2former.data.labelme import LabelmeShapes
from mask2former.data.loader import InfiniteSampler, collate, training_loader
from mask2former.data.numbered import NumberedObjects
from mask2former.data.panoptic import CocoPanoptic
from mask2former.data.regions import Separated
from mask2former.data.relabel import Relabelled
from mask2former.data.semantic import LabelMaps
from mask2former.data.shapes import Shapes
from mask2former.data.transforms import large_scale_jitter, resize_and_crop, resize_only
from mask2former.data.video import YouTubeVIS
from mask2former.data.voc import ObjectMaps
from mask2former.data.yolo import YoloPolygons

__all__ = [
    "Cached",
    "Cityscapes",
    "ClassMaps",
    "CocoInstances",
    "CocoPanoptic",
    "Dataset",
    "InfiniteSampler",
    "LabelMaps",
    "LabelmeShapes",
    "NumberedObjects",
    "ObjectMaps",
    "PaintedObjects",
    "Relabelled",
    "Separated",
    "Shapes",
    "Subset",
    "YoloPolygons",
    "YouTubeVIS",
    "collate",
    "large_scale_jitter",
    "resize_and_crop",
    "resize_only",
    "training_loader",
]
