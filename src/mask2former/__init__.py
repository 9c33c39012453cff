"""Segment images with the Masked-attention Mask Transformer (Mask2Former)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mask2former.categories import Categories
    from mask2former.config import Config
    from mask2former.engine.api import evaluate, train
    from mask2former.engine.predict import Predictor, load
    from mask2former.model.mask2former import Mask2Former
    from mask2former.results import InstanceResult, PanopticResult, SemanticResult

__version__ = "0.1.0"
__all__ = [
    "Categories",
    "Config",
    "InstanceResult",
    "Mask2Former",
    "PanopticResult",
    "Predictor",
    "SemanticResult",
    "__version__",
    "evaluate",
    "load",
    "train",
]

_HOMES = {
    "Categories": "mask2former.categories",
    "Config": "mask2former.config",
    "InstanceResult": "mask2former.results",
    "Mask2Former": "mask2former.model.mask2former",
    "PanopticResult": "mask2former.results",
    "Predictor": "mask2former.engine.predict",
    "SemanticResult": "mask2former.results",
    "evaluate": "mask2former.engine.api",
    "load": "mask2former.engine.predict",
    "train": "mask2former.engine.api",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `import mask2former` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mask2former' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
