"""The exponential moving average of a network's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mask2former.engine.processes import own_share


class Average:
    """Weights that follow the network's slowly: often better than the last ones.

    The first steps count more than `decay` says, or the average would long be the fresh weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = {}
        self.restart(network)

    def restart(self, network: nn.Module) -> None:
        """Begin at the network's weights."""
        state = network.state_dict()
        self.tensors = {name: tensor.detach().clone() for name, tensor in state.items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Follow step number `step`; what is no floating-point number is copied."""
        state = network.state_dict()
        pairs = [(own_share(self.tensors[name]), own_share(state[name])) for name in state]
        moving = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, values = zip(*moving, strict=True)
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(averages, values, weight)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)
