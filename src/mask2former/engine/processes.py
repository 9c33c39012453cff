"""The processes of a run: what they share, and how a network is spread over them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from mask2former.engine.blocks import find_blocks
from mask2former.model.backbone import synchronise_batch_norms

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Team:
    """The processes that work on one thing, of which this is number `rank`."""

    rank: int = 0
    size: int = 1

    def gather(self, thing: Thing) -> list[Thing]:
        """What every process holds, in all of them."""
        if self.size == 1:
            return [thing]
        things: list[Any] = [None] * self.size
        distributed.all_gather_object(things, thing)
        return things

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over the processes, in all of them."""
        if self.size > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor)
            tensor /= self.size
        return tensor

    def first(self, tensor: Tensor) -> Tensor:
        """The first process's, in all of them: statistics of batch norms may differ on CPUs."""
        if self.size > 1:
            tensor = tensor.detach().clone()
            distributed.broadcast(tensor, 0)
        return tensor

    def wait(self) -> None:
        """Go on when all have come this far."""
        if self.size > 1:
            distributed.barrier()


ALONE = Team()


def spread(network: nn.Module, device: torch.device, team: Team, *, sharded: bool) -> nn.Module:
    """A network on its device that learns together with those of the other processes.

    Alone it stays what it is. Otherwise every process keeps a copy (DDP) or, where `sharded`, its
    share of every block's weights (FSDP), and the gradients are averaged.
    """
    network = network.to(device)
    if team.size == 1:
        return network
    if device.type == "cuda":  # the paper's SyncBN
        network = synchronise_batch_norms(network)
    if not sharded:
        return DistributedDataParallel(network, [device] if device.type == "cuda" else None)
    network.to(memory_format=torch.contiguous_format)  # what FSDP can cut into shares
    mesh = init_device_mesh(device.type, (team.size,))
    for block in find_blocks(network):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)  # in place
    return network


@contextmanager
def without_exchange(model: nn.Module) -> Iterator[None]:
    """Gradients add up in each process; the next backward pass outside exchanges them."""
    match model:
        case DistributedDataParallel():
            with model.no_sync():
                yield
        case FSDPModule():
            model.set_requires_gradient_sync(False)
            yield
            model.set_requires_gradient_sync(True)
        case _:
            yield


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the shares of all processes put together; all of them must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_share(tensor: Tensor) -> Tensor:
    """The share of this process, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def means_lost_process(error: RuntimeError) -> bool:
    """Whether an error says that another process has gone."""
    text = str(error).lower()
    return isinstance(error, distributed.DistError) or "gloo" in text or "connection" in text
