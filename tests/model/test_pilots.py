"""Queries that are shown the truth: what they see, what they teach, and whom they leave alone."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from mask2former.build import build_model
from mask2former.config import load_config, parse_config
from mask2former.loss.criterion import Criterion, make_generators
from mask2former.loss.matcher import Matcher
from mask2former.loss.sampling import RandomPoints, UncertainPoints
from mask2former.model.mask2former import Mask2Former
from mask2former.model.pilots import Piloted, disturb, tokens_of
from mask2former.structures import Targets

CLASSES = 3
SIZE = (64, 96)


def small_network(**decoder: object) -> Mask2Former:
    torch.manual_seed(0)
    tree = {
        "dim": 16,
        "backbone": {"name": "resnet18"},
        "pixel_decoder": {"layers": 1, "heads": 2, "feedforward": 32},
        "transformer_decoder": {
            "layers": 4,
            "heads": 2,
            "feedforward": 32,
            "num_queries": 5,
            **decoder,
        },
    }
    return build_model(parse_config({"model": tree}, "a test").model, CLASSES)


def two_boxes(frames: int = 1, labels: tuple[int, ...] = (2, 0)) -> Targets:
    ids = torch.zeros(1, frames, *SIZE, dtype=torch.int32)
    ids[..., 8:40, 10:50] = 1
    ids[..., 41:64, 60:96] = 2
    return Targets(ids, torch.tensor(labels))


def nothing() -> Targets:
    return Targets(torch.zeros(1, 1, *SIZE, dtype=torch.int32), torch.zeros(0, dtype=torch.int64))


def run(network: Mask2Former, images: Tensor, targets: list[Targets], seed: int = 3):
    generators = make_generators(range(seed, seed + len(targets)), len(targets), images.device)
    return Piloted(network, 0.2)(images, targets, generators)


def test_tokens_show_what_is_in_them() -> None:
    ids = torch.zeros(2, 2, 64, 96, dtype=torch.int32)
    ids[0, 1, 33, 70] = 1  # a pixel of the second frame
    ids[1, :, 0:17, 0:16] = 2
    shown = tokens_of(Targets(ids, torch.tensor([0, 1])), 16).view(2, 2, 4, 6)
    assert shown[0].nonzero().tolist() == [[1, 2, 4]]
    assert shown[1].nonzero().tolist() == [[t, y, 0] for t in (0, 1) for y in (0, 1)]


def test_tokens_are_brute_force() -> None:
    torch.manual_seed(1)
    ids = torch.randint(0, 4, (2, 1, 32, 64)) * (torch.rand(2, 1, 32, 64) < 0.02)
    shown = tokens_of(Targets(ids.int(), torch.tensor([0, 1, 2])), 8)
    for number in range(1, 4):
        pixels = (ids == number).any(0)[0].view(4, 8, 8, 8)
        assert shown[number - 1].view(4, 8).equal(pixels.any(3).any(1))


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_noise_turns_as_many_on_as_off(noise: float) -> None:
    shown = torch.zeros(2, 10_000, dtype=torch.bool)
    shown[0, :3000] = True
    shown[1, :50] = True
    seen = disturb(shown, noise, Generator().manual_seed(0))
    assert (shown[0] & ~seen[0]).sum() == pytest.approx(3000 * noise, abs=80)
    assert (seen[0] & ~shown[0]).sum() == pytest.approx(3000 * noise, abs=80)
    assert seen.any(-1).all()


def test_mask_that_noise_wipes_out_reads_everywhere() -> None:
    shown = torch.zeros(1, 4, dtype=torch.bool)
    assert disturb(shown, 0.0, None).all()


def test_others_predict_as_without_pilots() -> None:
    network = small_network().eval()
    images = torch.rand(2, 3, *SIZE) * 255
    predictions, pilots = run(network, images, [two_boxes(), nothing()])
    for ours, alone in zip(predictions, network(images), strict=True):
        assert ours.class_logits.equal(alone.class_logits)
        assert ours.mask_embeddings.equal(alone.mask_embeddings)
    assert [len(found) for found in pilots] == [4, 0]
    assert pilots[0][0].class_logits.shape == (1, 2, CLASSES + 1)
    assert pilots[0][-1].mask_logits().shape == (1, 2, 1, SIZE[0] // 4, SIZE[1] // 4)


def test_pilots_of_a_picture_hang_on_that_picture_alone() -> None:
    network = small_network().eval()
    images = torch.rand(2, 3, *SIZE) * 255
    _, together = run(network, images, [two_boxes(), two_boxes(labels=(1, 1))])
    _, alone = run(network, images[:1], [two_boxes()])
    for one, other in zip(together[0], alone[0], strict=True):
        assert torch.allclose(one.class_logits, other.class_logits, atol=1e-5)


@pytest.mark.parametrize("attention", ["masked", "full", "smca", "mask_pooling"])
def test_pilots_teach_what_prediction_uses(attention: str) -> None:
    network = small_network(attention=attention).train()
    criterion = Criterion(Matcher(sampler=RandomPoints(60)), sampler=UncertainPoints(60))
    targets = [two_boxes(), nothing()]
    _, pilots = run(network, torch.rand(2, 3, *SIZE) * 255, targets)
    normalisers = criterion.normalisers(targets, 5)
    terms = criterion.pilot_terms(pilots, targets, normalisers, seeds=(0, 1))
    assert set(terms) == {"loss_ce_pilots", "loss_mask_pilots", "loss_dice_pilots"}
    sum(terms.values()).backward()
    decoder = network.transformer_decoder
    for part in (decoder.layers, decoder.mask_head, network.pixel_decoder.mask_features):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()
    assert all(parameter.grad is None for parameter in decoder.queries.parameters())


def test_pilot_loss_is_that_of_known_pairs() -> None:
    network = small_network().eval()
    criterion = Criterion(Matcher(sampler=RandomPoints(60)), sampler=UncertainPoints(60))
    target = two_boxes()
    _, pilots = run(network, torch.rand(1, 3, *SIZE) * 255, [target])
    terms = criterion.pilot_terms(pilots, [target], criterion.normalisers([target], 5), (7,))
    expected = sum(
        torch.nn.functional.cross_entropy(p.class_logits[0], target.labels, reduction="sum")
        for p in pilots[0]
    )
    assert terms["loss_ce_pilots"].item() == pytest.approx(2.0 * expected.item() / 2)


def test_no_objects_no_loss() -> None:
    criterion = Criterion()
    targets = [nothing()]
    terms = criterion.pilot_terms([[]], targets, criterion.normalisers(targets, 5), (0,))
    assert all(term == 0 for term in terms.values())


def test_clips_have_pilots_too() -> None:
    network = small_network(position="3d").eval()
    images = torch.rand(1, 2, 3, *SIZE) * 255
    _, pilots = run(network, images, [two_boxes(frames=2)])
    assert pilots[0][-1].mask_logits().shape == (1, 2, 2, SIZE[0] // 4, SIZE[1] // 4)


@pytest.mark.parametrize(
    ("recipe", "overrides", "sentence"),
    [
        ("nuclei", ["train.pilots=0.2"], "pilots are for queries that stand nowhere"),
        ("tiny/shapes", ["train.pilots=0.2", "train.sharded=true"], "cannot go with train.sharded"),
        ("tiny/shapes", ["train.pilots=1.5"], "pilots"),
    ],
)
def test_what_cannot_be_is_told(recipe: str, overrides: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_config(recipe, overrides)
