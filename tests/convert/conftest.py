"""Random models, and the files that other programs would have written of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mask2former import config as c
from mask2former.build import build_model
from mask2former.convert.official import OFFICIAL
from mask2former.convert.rows import to_theirs


class Forge:
    """Makes weights, and files of the official form."""

    def small(self, backbone: str = "swin") -> c.Model:
        """A network of few parameters which every form can hold."""
        swin = c.SwinBackbone(embed_dim=32, depths=(2, 2, 2, 2), heads=(1, 2, 4, 8))
        return c.Model(
            dim=64,
            backbone=swin if backbone == "swin" else c.TimmBackbone(name=backbone),
            pixel_decoder=c.MSDeformAttn(layers=1, feedforward=32),
            transformer_decoder=c.TransformerDecoder(layers=2, feedforward=48, num_queries=5),
        )

    def weights(self, network: c.Model, classes: int = 3) -> dict[str, Tensor]:
        """A state off its initial values, so that nothing can be mixed up."""
        model = build_model(network, classes)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.02 * torch.randn(parameter.shape)
            for name, buffer in model.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    buffer += 0.1 * torch.rand(buffer.shape)
                if name.endswith("num_batches_tracked"):
                    buffer.fill_(90_000)
        return model.state_dict()

    def official(
        self, weights: dict[str, Tensor], query: str = "static_query"
    ) -> dict[str, Tensor]:
        """The official names, with what official files hold beside ours."""
        tensors = {
            name.replace("query_feat", query): tensor
            for name, tensor in to_theirs(weights, OFFICIAL).items()
        }
        for name in [name for name in tensors if name.endswith("relative_position_bias_table")]:
            window = round((tensors[name].shape[0] ** 0.5 + 1) / 2)
            index = torch.zeros(window**2, window**2, dtype=torch.int64)
            tensors[name.replace("bias_table", "index")] = index
        classes = tensors["sem_seg_head.predictor.class_embed.bias"].shape[0]
        return tensors | {"criterion.empty_weight": torch.ones(classes)}

    def save(self, path: Path, tensors: dict[str, Tensor], protocol: int = 4) -> Path:
        """A pickle of NumPy arrays, as the released files are."""
        document = {
            "model": {name: tensor.numpy() for name, tensor in tensors.items()},
            "__author__": "a test",
        }
        path.write_bytes(pickle.dumps(document, protocol=protocol))
        return path


@pytest.fixture(scope="session")
def forge() -> Forge:
    return Forge()
