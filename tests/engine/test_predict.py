"""Every form of a picture gives the same result; wrong input is one sentence."""

import copy
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mask2former.checkpoint import save_model
from mask2former.config import Config, override_config
from mask2former.data import Shapes
from mask2former.engine.predict import Predictor, load, pad_with_mean, read_source
from mask2former.postprocess.semantic import resize_masks, resize_scores
from mask2former.results import InstanceResult, PanopticResult, SemanticResult

PICTURE = Shapes(1, (40, 57)).image(0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.fromarray(PICTURE).save(tmp_path / "shapes.png")
    return tmp_path / "shapes.png"


def test_all_forms_of_a_picture_give_equal_results(predictor: Predictor, file: Path) -> None:
    tensor = torch.from_numpy(PICTURE).permute(2, 0, 1)
    forms = [file, str(file), Image.open(file), PICTURE, PICTURE.astype(float), tensor, tensor / 1]
    forms += [file.read_bytes(), BytesIO(file.read_bytes())]
    first, *others = predictor(forms, task="instance")
    assert isinstance(first, InstanceResult)
    assert first.masks.shape == (len(first), 40, 57)
    assert len(first) > 0
    for other in others:
        assert isinstance(other, InstanceResult)
        np.testing.assert_array_equal(other.image, PICTURE)
        np.testing.assert_array_equal(other.scores, first.scores)
        np.testing.assert_array_equal(other.plain.masks, first.plain.masks)


@pytest.mark.parametrize("bits", [8, 12, 14, 16])
def test_grey_arrays_are_read_as_their_files(bits: int, tmp_path: Path) -> None:
    """Cameras of 12 and 14 bits store 16, and would be black by the full range."""
    depth = np.uint8 if bits == 8 else np.uint16
    grey = PICTURE[..., 0].astype(depth) * depth((2**bits - 1) // 255)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    from_file, _ = read_source(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_source(grey)[0], from_file)
    np.testing.assert_array_equal(from_file, np.repeat(PICTURE[..., :1], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "I;16", "exif"])
def test_open_picture_is_read_as_its_file(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    exif = Image.Exif()
    if mode == "I;16":
        image = Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257)
    elif mode == "exif":
        image = Image.fromarray(PICTURE)
        exif[274] = 6  # orientation: a quarter turn
    else:
        image = Image.fromarray(PICTURE).convert(mode)
        if mode.endswith("A"):
            image.putalpha(100)
    image.save(path, exif=exif)
    from_file, name = read_source(path)
    with Image.open(path) as opened:
        pixels, opened_name = read_source(opened)
    np.testing.assert_array_equal(pixels, from_file)
    assert name == opened_name == str(path)


def test_one_picture_gives_one_result_and_a_list_a_list(predictor: Predictor) -> None:
    assert isinstance(predictor(PICTURE), PanopticResult)
    assert predictor([]) == []
    assert len(predictor((PICTURE, PICTURE))) == 2


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_tiny_pictures_get_masks_of_their_size(predictor: Predictor, size: tuple) -> None:
    result = predictor(np.zeros((*size, 3), np.uint8), task="semantic")
    assert isinstance(result, SemanticResult)
    assert result.labels.shape == size


def test_every_task_is_answered_with_its_result(predictor: Predictor) -> None:
    instance, panoptic, semantic = (
        predictor(PICTURE, task=task) for task in ("instance", "panoptic", "semantic")
    )
    assert isinstance(instance, InstanceResult)
    assert set(instance.labels) <= {0, 1, 2}  # things only
    assert (np.diff(instance.scores) <= 0).all()
    assert isinstance(panoptic, PanopticResult)
    assert panoptic.ids.shape == (40, 57)
    assert {segment.id for segment in panoptic.segments} >= set(np.unique(panoptic.ids)) - {0}
    assert isinstance(semantic, SemanticResult)
    assert set(np.unique(semantic.labels)) <= {0, 1, 2, 3}


def test_threshold_keeps_what_reaches_it(predictor: Predictor) -> None:
    everything = predictor(PICTURE, task="instance")
    assert isinstance(everything, InstanceResult)
    middle = float(np.median(everything.scores))
    some = predictor(PICTURE, task="instance", threshold=middle)
    assert isinstance(some, InstanceResult)
    np.testing.assert_array_equal(some.scores, everything.filter(middle).scores)
    none = predictor(PICTURE, task="instance", threshold=1.0)
    assert isinstance(none, InstanceResult)
    assert none.masks.shape == (0, 40, 57)
    empty = predictor(PICTURE, task="panoptic", threshold=1.0)
    assert isinstance(empty, PanopticResult)
    assert empty.segments == []
    assert not empty.ids.any()


def test_task_of_the_model_is_the_default(predictor: Predictor) -> None:
    assert predictor.task == "panoptic"
    assert predictor.categories.names[-1] == "background"


@pytest.mark.parametrize(
    ("task", "threshold"), [("semantic", 0.5), ("instance", 70), ("panoptic", -1)]
)
def test_threshold_that_means_nothing_is_refused(predictor: Predictor, task, threshold) -> None:
    with pytest.raises(ValueError, match="threshold"):
        predictor(PICTURE, task=task, threshold=threshold)


def test_rule_of_semantic_maps_is_that_of_the_training(predictor: Predictor) -> None:
    """Settings of a copy say what is asked, not how the network was taught."""
    other = predictor.with_settings("test.task=semantic")
    assert other.task == "semantic"
    assert other.score is predictor.score is resize_masks
    config = override_config(predictor.card.config, ["test.task=semantic"])
    card = replace(predictor.card, config=config)
    assert Predictor(predictor.model, card, predictor.device).score is resize_scores


def test_settings_of_the_network_are_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"'model\.dim=8': only test\.\*"):
        predictor.with_settings("model.dim=8")
    with pytest.raises(ValueError, match=r"the settings: unknown setting 'test\.sort_edge'"):
        predictor.with_settings("test.sort_edge=8")


def test_unknown_task_lists_the_three(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="no task 'depth'; choose semantic, instance, panoptic"):
        predictor(PICTURE, task="depth")  # pyrefly: ignore[bad-argument-type]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (np.zeros((5, 5)), r"an array \(H, W, 3\) or \(H, W\)"),
        (np.zeros((5, 5, 2), np.uint8), r"an array \(H, W, 3\)"),
        (np.zeros((0, 5), np.uint8), r"an array \(H, W, 3\)"),
        (b"no picture", "the bytes are no picture"),
        (np.zeros((2, 5, 5, 3), np.uint8), r"an array \(H, W, 3\)"),
        (torch.zeros(5, 5, 3), r"a tensor \(3, H, W\)"),
        (torch.zeros(1, 3, 5, 5), r"a tensor \(3, H, W\)"),
        (17, "a picture is a path"),
        (np.zeros((0, 5, 3), np.uint8), "has no pixel"),
        (np.full((5, 5, 3), np.nan), "from 0 to 255"),
        (np.full((5, 5, 3), -1.0), "from 0 to 255"),
        (np.full((5, 5, 3), 4000, np.uint16), "from 0 to 255"),
        (np.full((5, 5, 3), 0.5), "multiply these by 255"),
        (np.zeros((5, 5, 3), bool), "numbers from 0 to 255, not bool"),
        ("gone.png", r"gone\.png: there is no such file"),
    ],
)
def test_wrong_input_is_one_sentence(predictor: Predictor, wrong: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        predictor(wrong)  # pyrefly: ignore[no-matching-overload]


@pytest.mark.parametrize(
    ("size", "network"),
    [
        ((427, 640), (64, 96)),  # 64 x 95.93
        ((640, 427), (96, 64)),
        ((480, 640), (64, 85)),  # 85.33
        ((64, 200), (31, 96)),  # the long edge decides: 30.72
        ((1, 300), (1, 96)),
    ],
)
def test_network_size_is_rounded_as_the_official(
    predictor: Predictor, size: tuple[int, int], network: tuple[int, int]
) -> None:
    prediction, sizes = predictor.infer(np.zeros((*size, 3), np.uint8))
    assert sizes.network == network
    assert sizes.original == size
    padded = [-(-side // 32) * 8 for side in network]
    assert list(prediction.mask_features.shape[-2:]) == padded


def test_padding_is_the_mean_right_and_below() -> None:
    pixels, mean = torch.rand(3, 33, 64), torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    padded = pad_with_mean(pixels, mean)
    assert padded.shape == (3, 64, 64)
    assert torch.equal(padded[:, :33], pixels)
    assert torch.equal(padded[:, 33:], mean.expand(3, 31, 64))


def test_loaded_model_answers_as_the_saved_one(
    predictor: Predictor, tmp_path: Path, tiny: Callable[..., Config]
) -> None:
    save_model(tmp_path, predictor.model, predictor.card)
    loaded = load(tmp_path, device="cpu")
    assert loaded.card == predictor.card
    own, again = predictor(PICTURE, task="instance"), loaded(PICTURE, task="instance")
    np.testing.assert_array_equal(own.plain.scores, again.plain.scores)
    np.testing.assert_array_equal(own.plain.masks, again.plain.masks)


def test_compiled_network_answers_the_same(predictor: Predictor) -> None:
    """For every size of picture; `eager` traces the network without making code of it."""
    twin = Predictor(copy.deepcopy(predictor.model), predictor.card, predictor.device)
    assert twin.compile("eager") is twin
    for picture in (PICTURE, PICTURE[:, :30], PICTURE):
        expected = predictor.infer(picture)[0]
        found = twin.infer(picture)[0]
        torch.testing.assert_close(found.class_logits, expected.class_logits, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            found.mask_embeddings, expected.mask_embeddings, rtol=1e-3, atol=1e-3
        )
