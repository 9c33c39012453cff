"""Clips in the loss: one class cost, costs over all frames, a mask for every frame (2112.10764)."""

from __future__ import annotations

import torch

from mask2former.loss.criterion import Criterion
from mask2former.loss.matcher import Matcher
from mask2former.loss.sampling import AllPixels
from mask2former.structures import Prediction, Targets

CLASSES, QUERIES, SIDE = 3, 5, 16
PIXELS = Criterion(Matcher(sampler=AllPixels()), sampler=AllPixels())


def draw_prediction(frames: int) -> Prediction:
    return Prediction(
        torch.randn(1, QUERIES, CLASSES + 1),
        torch.randn(1, QUERIES, 4),
        torch.randn(1, frames, 4, SIDE // 4, SIDE // 4),
    )


def square_track(frames: int, seen: list[int], label: int = 1) -> Targets:
    """One object, in some of the frames."""
    ids = torch.zeros(1, frames, SIDE, SIDE, dtype=torch.int32)
    ids[0, seen, 4:12, 2:10] = 1
    return Targets(ids, torch.tensor([label]))


def test_equal_frames_scale_the_mask_terms_and_nothing_else() -> None:
    """The divisor is the number of objects, not of masks, so that mask terms grow with T."""
    still = draw_prediction(1)
    clip = still._replace(mask_features=still.mask_features.expand(-1, 3, -1, -1, -1))
    picture = PIXELS([still], [square_track(1, [0])])
    film = PIXELS([clip], [square_track(3, [0, 1, 2])])
    torch.testing.assert_close(film["loss_ce"], picture["loss_ce"])
    for name in ("loss_mask", "loss_dice"):
        torch.testing.assert_close(film[name], 3 * picture[name])


def test_matching_weighs_the_class_once_and_the_masks_over_all_frames() -> None:
    clip, target = draw_prediction(4), square_track(4, [0, 2, 3])
    # Dice is a ratio of sums over the clip and no mean of frames, so it is left out of both sides.
    matcher = Matcher(sampler=AllPixels(), dice_weight=0.0)
    frames = [
        matcher.costs(
            [clip._replace(mask_features=clip.mask_features[:, frame : frame + 1])],
            0,
            Targets(target.ids[:, frame : frame + 1], target.labels),
            None,
        )
        for frame in range(4)
    ]
    whole = matcher.costs([clip], 0, target, None)
    torch.testing.assert_close(whole, torch.stack(frames).mean(0))
    only_class = Matcher(sampler=AllPixels(), dice_weight=0.0, mask_weight=0.0)
    probability = clip.class_logits[0].softmax(-1)[:, 1]
    cost = only_class.costs([clip], 0, target, None)[0, :, 0]
    torch.testing.assert_close(cost, -2 * probability)


def test_object_that_has_left_by_the_last_frame_keeps_its_class() -> None:
    """The official reader trains it as no object."""
    clip, target = draw_prediction(3), square_track(3, [0])
    (match,) = PIXELS.matcher([clip], [target], [None])[0]
    wanted = torch.full((QUERIES,), CLASSES)
    wanted[match.queries] = 1
    weight = torch.where(wanted == CLASSES, 0.1, 1.0)
    surprise = -clip.class_logits[0].log_softmax(-1)[torch.arange(QUERIES), wanted]
    expected = 2 * (surprise * weight).sum() / weight.sum()
    torch.testing.assert_close(PIXELS([clip], [target])["loss_ce"], expected)


def test_frames_without_the_object_are_supervised_as_empty() -> None:
    features = torch.ones(1, 2, 1, SIDE // 4, SIDE // 4)
    clip = Prediction(torch.zeros(1, 1, CLASSES + 1), torch.tensor([[[3.0]]]), features)
    target = square_track(2, [0])
    one = clip._replace(mask_features=features[:, :1])
    first = PIXELS([one], [Targets(target.ids[:, :1], target.labels)])["loss_mask"]
    nowhere = torch.nn.functional.softplus(torch.tensor(3.0))  # a logit of 3 on all of its pixels
    whole = PIXELS([clip], [target])["loss_mask"]
    # Points in the outermost ring read zeros beyond the border: close, not equal.
    torch.testing.assert_close(whole - first, 5 * nowhere, rtol=0.25, atol=0)
