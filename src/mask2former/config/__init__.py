"""The settings: one typed, frozen tree, read from recipes and stored beside the weights."""

from mask2former.categories import Task
from mask2former.config.base import Settings
from mask2former.config.data import (
    Augmentation,
    ClassEntry,
    ClassList,
    Clip,
    Data,
    Fit,
    Format,
    LargeScaleJitter,
    ResizeAndCrop,
    Split,
    SplitName,
)
from mask2former.config.inference import Test, Tta
from mask2former.config.model import (
    FPN,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    Model,
    MSDeformAttn,
    SampledQueries,
    SwinBackbone,
    TimmBackbone,
    TransformerDecoder,
)
from mask2former.config.train import Loss, Precision, Schedule, Train
from mask2former.config.tree import (
    FORMAT,
    Config,
    dump_config,
    load_config,
    override_config,
    override_values,
    parse_config,
)

__all__ = [
    "FORMAT",
    "FPN",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Augmentation",
    "Backbone",
    "ClassEntry",
    "ClassList",
    "Clip",
    "Config",
    "Data",
    "Fit",
    "Format",
    "LargeScaleJitter",
    "Loss",
    "MSDeformAttn",
    "Model",
    "Precision",
    "ResizeAndCrop",
    "SampledQueries",
    "Schedule",
    "Settings",
    "Split",
    "SplitName",
    "SwinBackbone",
    "Task",
    "Test",
    "TimmBackbone",
    "Train",
    "TransformerDecoder",
    "Tta",
    "dump_config",
    "load_config",
    "override_config",
    "override_values",
    "parse_config",
]
