"""Queries that are shown the truth while the others learn (Zhang et al., MP-Former, CVPR 2023).

Masked attention trusts the last mask, which early in training is poor. So a second set of queries,
the pilots, goes through the same layers: one for each true object, that begins as its class and
may read where its true mask is, with some noise. They need no matching, as it is known what each
is of; the network has no weights of theirs, and prediction knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from mask2former.model.mask2former import Mask2Former
from mask2former.model.transformer_decoder import MaskedTransformerDecoder, Memory
from mask2former.structures import PixelFeatures, Prediction, Targets


class Piloted(nn.Module):
    """A network in training, with pilots; `noise` is the part of a mask that is shown wrongly."""

    def __init__(self, network: Mask2Former, noise: float) -> None:
        super().__init__()
        self.network = network
        self.noise = noise

    @property
    def decoder(self) -> MaskedTransformerDecoder:
        """The network's, whose layers the pilots go through too."""
        decoder = self.network.transformer_decoder
        assert isinstance(decoder, MaskedTransformerDecoder)
        return decoder

    def forward(
        self, images: Tensor, targets: Sequence[Targets], generators: Sequence[Generator | None]
    ) -> tuple[list[Prediction], list[list[Prediction]]]:
        """The network's predictions for `images`, and the pilots' of each picture, layer by layer.

        A pilot of picture b is query i of (1, N, ...) for the object i of its N. Pictures without
        objects have none.
        """
        features = self.network.look(images)
        predictions = self.decoder(features)
        memories = self.decoder.read_levels(features)
        pilots = [
            self.follow(
                PixelFeatures(features.mask_features[[picture]], {}),
                [of_picture(memory, picture) for memory in memories],
                target,
                generator,
            )
            for picture, (target, generator) in enumerate(zip(targets, generators, strict=True))
        ]
        return predictions, pilots

    def follow(
        self,
        features: PixelFeatures,
        memories: Sequence[Memory],
        target: Targets,
        generator: Generator | None,
    ) -> list[Prediction]:
        """The pilots of one picture after each layer."""
        if target.labels.shape[0] == 0:
            return []
        decoder = self.decoder
        shown = [
            torch.cat([tokens_of(target, stride) for stride in strides], dim=-1)
            for strides in decoder.levels
        ]
        queries = decoder.class_head.weight[target.labels].detach().unsqueeze(0)
        position = torch.zeros_like(queries)
        predictions = []
        for index, layer in enumerate(decoder.layers):
            level = index % len(memories)
            allowed = disturb(shown[level], self.noise, generator)
            queries = layer(queries, position, memories[level], allowed.unsqueeze(0))
            predictions.append(decoder.predict(queries, None, features))
        return predictions


def of_picture(memory: Memory, picture: int) -> Memory:
    """What one picture's queries read."""
    keys, values, mask_features, places = memory
    return Memory(keys[[picture]], values[[picture]], mask_features[[picture]], places)


@torch.no_grad()
def tokens_of(target: Targets, stride: int) -> Tensor:
    """Which tokens of a stride show some of each object: bool (N, T * H/stride * W/stride)."""
    frames, height, width = target.ids.shape[1:]
    rows, columns = (
        torch.arange(side, device=target.ids.device) // stride for side in (height, width)
    )
    across, down = -(-width // stride), -(-height // stride)
    frame = torch.arange(frames, device=target.ids.device)[:, None, None] * down
    token = (frame + rows[:, None]) * across + columns  # (T, H, W)
    count, size = target.labels.shape[0], frames * down * across
    flat = target.ids.long() * size + token
    shown = torch.zeros((count + 1) * size, dtype=torch.bool, device=token.device)
    shown = shown.scatter(0, flat.flatten(), torch.ones_like(flat, dtype=torch.bool).flatten())
    return shown.view(count + 1, size)[1:]


@torch.no_grad()
def disturb(shown: Tensor, noise: float, generator: Generator | None) -> Tensor:
    """Turn round a part of each mask's tokens, and as many that are not of it: bool (N, S)."""
    inside = shown.sum(-1, keepdim=True)
    outside = (shown.shape[-1] - inside).clamp(min=1)
    chance = torch.where(shown, noise, (noise * inside / outside).clamp(max=0.5))
    draws = torch.rand(shown.shape, device=shown.device, generator=generator)
    disturbed = shown ^ (draws < chance)
    return disturbed | ~disturbed.any(-1, keepdim=True)
