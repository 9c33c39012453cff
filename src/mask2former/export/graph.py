"""The network as a graph: a copy that runtimes can follow, through `torch.export`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mask2former.card import ModelCard
from mask2former.export.files import quiet
from mask2former.export.plan import Plan
from mask2former.export.result import RESULTS, Rule
from mask2former.model.backbone import fix_padding, fix_positions
from mask2former.model.deformable_attention import DeformableAttention, Sample
from mask2former.model.kernels.folding import fold_batch_norms
from mask2former.model.kernels.halved import halve_convolutions
from mask2former.model.kernels.sampled_rows import (
    sample_with_bags,
    sample_with_grids,
    sample_with_products,
)
from mask2former.model.kernels.short_masks import shorten_masks
from mask2former.model.mask2former import Mask2Former
from mask2former.runtime import PARTS
from mask2former.structures import STRIDE, Prediction

TRACED = (256, 320)
"""The size at which a graph of any size is traced: no side, and no number of cells, alike."""
MOST_PICTURES = 2**10
LONGEST = 2**14


class Graph(nn.Module):
    """A network and what of its last prediction is told: all of it, or a result."""

    def __init__(
        self,
        network: Mask2Former,
        rule: Callable[[Prediction], tuple[Tensor, ...]],
        value_range: tuple[float, float],
    ) -> None:
        super().__init__()
        self.network: Mask2Former = network
        self.rule = rule
        self.value_range = value_range  # black and white, in the pictures' own numbers

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Pictures (B, 3, H, W) or clips (B, T, 3, H, W) -> the outputs named by `output_names`."""
        return self.rule(self.network(images)[-1])


def make_graph(network: Mask2Former, card: ModelCard, plan: Plan) -> Graph:
    """The network, as it is, with the outputs that are wanted."""
    rule = tuple if plan.outputs == "network" else Rule.of_card(card)
    return Graph(network, rule, card.config.model.value_range or (0.0, 255.0))


def output_names(card: ModelCard, plan: Plan) -> Sequence[str]:
    """What the outputs of a graph are called, in turn."""
    return PARTS if plan.outputs == "network" else RESULTS[card.config.test.task]


def trace(graph: Graph, plan: Plan) -> ExportedProgram:
    """Follow a graph that is prepared through one call, for one size or for all."""
    images = example(graph, plan)
    with torch.no_grad(), quiet():
        return torch.export.export(graph, (images,), dynamic_shapes=dynamic_sides(plan))


def choose_sample(plan: Plan) -> Sample:
    """The form of deformable sampling that is quickest where the graph will run.

    ONNX files get no `GridSample`, which TensorRT is reported to compile wrongly. OpenVINO has
    `embedding_bag` only for fixed sizes.
    """
    if plan.format == "onnx":
        return sample_with_products
    return sample_with_grids if plan.size is None else sample_with_bags


def prepare(graph: Graph, plan: Plan) -> Graph:
    """A copy that is the same function, in words that runtimes know and are quick at."""
    copied = copy.deepcopy(graph).cpu().eval()
    network, sample = copied.network, choose_sample(plan)
    fix_padding(network.backbone)
    fold_batch_norms(network.backbone, torch.zeros(1, network.mean.shape[0], 64, 64))
    if plan.size is not None:
        fix_positions(network.backbone, plan.size)
    shorten_masks(network)
    for module in copied.modules():
        if isinstance(module, DeformableAttention):
            module.sample = sample
    if plan.size is not None and plan.precision != "int8":
        halve_convolutions(network, example(copied, plan))
    return copied


def example(graph: Graph, plan: Plan) -> Tensor:
    """Pictures or clips to trace with: a batch of one would be taken for always one."""
    frames = [] if plan.frames is None else [plan.frames]
    batch = 2 if plan.size is None else 1
    shape = batch, *frames, graph.network.mean.shape[0], *(plan.size or TRACED)
    return torch.empty(shape).uniform_(*graph.value_range)


def dynamic_sides(plan: Plan) -> dict | None:
    """Which sides of the pictures may change; none where the size is fixed."""
    if plan.size is not None:
        return None
    rows = STRIDE * Dim("rows", min=2, max=LONGEST // STRIDE)
    columns = STRIDE * Dim("columns", min=2, max=LONGEST // STRIDE)
    first = 2 if plan.frames is None else 3
    batch = Dim("batch", min=1, max=MOST_PICTURES)
    return {"images": {0: batch, first: rows, first + 1: columns}}
