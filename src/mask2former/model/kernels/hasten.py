"""The same network with less to do: what prediction and training on this machine can leave out."""

from __future__ import annotations

import torch

from mask2former.model.kernels.convolutions import quicken_convolutions
from mask2former.model.kernels.folding import fold_batch_norms, fold_frozen_norms
from mask2former.model.kernels.onednn import is_available, multiply_by_onednn
from mask2former.model.mask2former import Mask2Former


def hasten(network: Mask2Former) -> Mask2Former:
    """For prediction: batch norms go into the weights; on a CPU its own ways to multiply.

    Load weights first: what is loaded later knows nothing of the norms in the weights.
    """
    fold_batch_norms(network.backbone, _example(network))
    return _suit_cpu(network)


def hasten_training(network: Mask2Former) -> Mask2Former:
    """For training: frozen norms are applied to the weights; on a CPU its own ways to multiply."""
    fold_frozen_norms(network.backbone, _example(network))
    return _suit_cpu(network)


def _example(network: Mask2Former) -> torch.Tensor:
    return torch.zeros(1, network.mean.shape[0], 64, 64, device=network.mean.device)


def _suit_cpu(network: Mask2Former) -> Mask2Former:
    if network.mean.device.type == "cpu" and is_available():
        network.to(memory_format=torch.channels_last)
        multiply_by_onednn(network)
        quicken_convolutions(network)
    return network
