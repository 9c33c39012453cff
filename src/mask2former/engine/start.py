"""What a fresh run starts from: ImageNet's features, or another model's weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mask2former import config as c
from mask2former.checkpoint import load_model
from mask2former.model.backbone import TimmBackbone, load_lite0_package, load_pretrained
from mask2former.model.backbone import load_weights as load_timm_weights
from mask2former.model.mask2former import Mask2Former
from mask2former.model.swin import Swin, load_imagenet
from mask2former.zoo import find_model


def initialise_backbone(
    model: Mask2Former, backbone: c.TimmBackbone | c.SwinBackbone, say: Callable[[str], None]
) -> None:
    """Load the backbone's ImageNet weights, where the recipe names some; say so where not."""
    module = model.backbone
    match backbone.weights:
        case None:
            frozen = isinstance(backbone, c.TimmBackbone) and backbone.norm == "frozen"
            hint = ", with frozen batch norms that learn nothing" if frozen else ""
            say(
                f"warning: the backbone starts from random weights{hint}; "
                "name some in model.backbone.weights, or start --from a model"
            )
        case "timm" if isinstance(module, TimmBackbone):
            load_pretrained(module)
        case "efficientnet-lite0-package" if isinstance(module, TimmBackbone):
            load_lite0_package(module)
        case path if isinstance(module, TimmBackbone):
            load_timm_weights(module.body, Path(path))
        case path if isinstance(module, Swin):
            load_imagenet(module, Path(path))


def take_over_weights(model: Mask2Former, name: str, say: Callable[[str], None]) -> None:
    """Start from another model's weights, and say which did not fit."""
    source, _ = load_model(find_model(name))
    given, own = source.state_dict(), model.state_dict()
    fits = {key: t for key, t in given.items() if key in own and own[key].shape == t.shape}
    model.load_state_dict(fits, strict=False)
    fresh = sorted(own.keys() - fits.keys())
    say(f"{len(fits)} of {len(own)} tensors taken over from {name}")
    if fresh:
        say(f"fresh: {', '.join(fresh[:8])}{', ...' if len(fresh) > 8 else ''}")
