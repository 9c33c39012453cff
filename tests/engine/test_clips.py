"""Video models from training to files: a clip is segmented as one, by the rules of clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mask2former.build import build_model, build_splits
from mask2former.checkpoint import ModelCard
from mask2former.config import Config, load_config
from mask2former.data import Shapes, YouTubeVIS
from mask2former.engine.evaluate import evaluate
from mask2former.engine.predict import Predictor, load
from mask2former.engine.predict_files import Session, find_pictures, group_clips
from mask2former.engine.train import train
from mask2former.results import InstanceResult

VIDEO = (
    "model.transformer_decoder.position=3d",
    "data.clip={frames: 2}",
    "test.task=instance",
    "test.max_detections=10",
    "test.ap=youtube_vis",
)
CLIP = Shapes(1, (40, 57), frames=3).image(0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def video_model(tiny: Callable[..., Config]) -> Predictor:
    torch.manual_seed(0)
    config = tiny(*VIDEO)
    categories = Shapes(1, task="instance").categories
    model = build_model(config.model, len(categories))
    return Predictor(model, ModelCard(config, categories, "none"), CPU)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """clips/a with three frames, named without leading zeros, and clips/b with one."""
    for name, frame in zip(("a/8", "a/9", "a/10", "b/0"), (*CLIP, CLIP[0]), strict=True):
        path = tmp_path / "clips" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(path)
    return tmp_path / "clips"


def test_all_forms_of_a_clip_give_equal_results(video_model: Predictor, folder: Path) -> None:
    files = [folder / "a" / f"{number}.png" for number in (8, 9, 10)]
    tensor = torch.from_numpy(CLIP).permute(0, 3, 1, 2)
    forms = [folder / "a", str(folder / "a"), files, CLIP, tensor, list(CLIP), iter(CLIP)]
    first, *others = (video_model.clip(form) for form in forms)
    assert isinstance(first, InstanceResult)
    assert first.masks.shape == (10, 3, 40, 57)
    assert first.name == str(folder / "a")
    for other in others:
        assert np.array_equal(other.image, CLIP)
        assert isinstance(other, InstanceResult)
        assert np.array_equal(other.plain.masks, first.plain.masks)
        assert np.array_equal(other.scores, first.scores)


def test_score_is_the_class_probability_alone(video_model: Predictor) -> None:
    result = video_model.clip(CLIP)
    prediction, _ = video_model.infer(CLIP)
    probabilities = prediction.class_logits[0].softmax(-1)[:, :-1].flatten()
    assert isinstance(result, InstanceResult)
    np.testing.assert_allclose(result.scores, probabilities.topk(10).values)


def test_picture_is_a_clip_of_one_frame(video_model: Predictor) -> None:
    picture, clip = video_model(CLIP[0]), video_model.clip(CLIP[:1])
    assert isinstance(picture, InstanceResult)
    assert isinstance(clip, InstanceResult)
    assert picture.image.shape == (40, 57, 3)
    assert np.array_equal(picture.plain.masks, clip.plain.masks)


def test_picture_model_refuses_clips_and_says_what_to_do(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="frames as a list of pictures, or take a video model"):
        predictor.clip(CLIP)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (CLIP[0], "a clip is a folder of frames"),
        (torch.zeros(3, 8, 8), "a clip is a folder of frames"),
        (7, "a clip is a folder of frames"),
        ([], "needs at least one frame"),
        ("gone", "no such file or folder"),
        ([CLIP[0], CLIP[1, :30]], "frame 1 is 57 x 30 and the first 57 x 40"),
    ],
)
def test_wrong_clip_is_one_sentence(video_model: Predictor, wrong: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        video_model.clip(wrong)  # pyrefly: ignore[bad-argument-type]


def test_saved_clip_is_a_folder_of_drawings(video_model: Predictor, tmp_path: Path) -> None:
    result = video_model.clip(CLIP)
    assert isinstance(result, InstanceResult)
    saved = result.save(tmp_path / "out")
    assert sorted(path.name for path in saved.iterdir()) == [f"{t:05d}.png" for t in range(3)]
    (first, *_) = result.to_youtube_vis(video_id=6)
    assert first["video_id"] == 6
    assert len(first["segmentations"]) == 3


def test_folders_and_videos_are_clips(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a/10.png", "a/9.png", "v.mp4", "b/1.png")]
    assert group_clips(files) == {
        tmp_path / "a": [tmp_path / "a/9.png", tmp_path / "a/10.png"],
        tmp_path / "v.mp4": [],
        tmp_path / "b": [tmp_path / "b/1.png"],
    }


def test_tracks_and_drawings_of_folders_are_written(
    video_model: Predictor, folder: Path, tmp_path: Path
) -> None:
    (folder / "c").mkdir()
    (folder / "c" / "broken.png").write_bytes(b"broken")
    said: list[str] = []
    complaints: list[str] = []
    output = tmp_path / "out"
    session = Session(
        video_model, "instance", output, 0.0, say=said.append, complain=complaints.append
    )
    session.run(find_pictures([str(folder)], output=output, say=said.append))
    assert (session.done, session.failed) == (2, 1)
    assert "broken.png" in complaints[0]
    assert said[0].startswith(f"1/3 {folder / 'a'}: 57x40, 3 frames  ")
    drawn = sorted(str(p.relative_to(output)) for p in (output / "overlay").rglob("*.png"))
    assert drawn == [f"overlay/{name}.png" for name in ("a/10", "a/8", "a/9", "b/0")]
    again = YouTubeVIS(folder, output / "tracks.json")
    assert again.categories == video_model.categories
    assert np.array_equal(again.image(0), CLIP)
    assert len(again.truth(0).instances or []) == 10
    entries = json.loads((output / "tracks.json").read_text())["annotations"]
    assert all("score" in entry for entry in entries)


def test_picture_model_takes_a_video_frame_by_frame(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mask2former.engine.predict_files.read_video", lambda path: iter(CLIP))
    video = tmp_path / "film.mp4"
    video.touch()
    said: list[str] = []
    session = Session(predictor, "instance", tmp_path / "out", 0.0, say=said.append)
    session.run([video])
    assert session.done == 3
    assert said[2].startswith(f"1/1 {video} frame 2: 57x40  ")
    images = json.loads((tmp_path / "out" / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"film/{t:05d}.png" for t in range(3)]
    assert len(list((tmp_path / "out" / "overlay" / "film").iterdir())) == 3


def test_formats_are_those_of_clips(video_model: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot save 'coco' of instance results; choose overlay,"):
        Session(video_model, "instance", tmp_path, formats=("coco",))


def test_video_model_is_trained_measured_and_asked_on_moving_shapes(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    config = tiny(*VIDEO, "train.steps=3", "train.evaluate_every=3", "data.first=4")
    said: list[str] = []
    train(config, tmp_path / "run", device=CPU, say=said.append)
    assert any("validation: AP " in line for line in said)
    model = load(tmp_path / "run", device="cpu")
    assert model.takes_clips
    _, val = build_splits(config.data, "instance")
    report = evaluate(model, val, "instance")
    assert "YouTube-VIS" in report.protocol
    assert report.pictures == 4
    assert 0 <= report.summary["AP"] <= 1
    result = model.clip(val.image(0))
    assert isinstance(result, InstanceResult)
    assert result.masks.shape == (10, 2, 96, 96)


def test_video_model_is_trained_measured_and_asked_on_real_clips(
    shared_data: Path, tiny: Callable[..., Config], tmp_path: Path
) -> None:
    config = tiny(
        *VIDEO,
        "data.format=youtube_vis",
        "data.fold=null",
        f"data.root={shared_data / 'nuclei_drift_vis'}",
        "data.train={images: JPEGImages/train, annotations: instances_train.json}",
        "data.val={images: JPEGImages/val, annotations: instances_val.json}",
        "data.first=2",
        "train.steps=2",
    )
    train(config, tmp_path / "run", device=CPU, say=lambda line: None)
    model = load(tmp_path / "run", device="cpu")
    assert {path.stem for path in (tmp_path / "run" / "samples").iterdir()} == {
        "clip001",
        "clip002",
    }
    _, val = build_splits(config.data, "instance")
    report = evaluate(model, val, "instance")
    assert report.pictures == 2
    result = model.clip(val.file(0))
    assert isinstance(result, InstanceResult)
    assert result.masks.shape[1:] == (6, 160, 160)


def test_tiny_recipe_of_clips_needs_no_download() -> None:
    config = load_config("tiny/clips")
    train_set, val_set = build_splits(config.data, config.test.task)
    assert train_set.sample(0)["image"].shape == (3, 3, 96, 96)
    assert val_set.image(0).shape == (3, 96, 96, 3)
    assert config.model.transformer_decoder.position == "3d"


def test_clips_of_picture_formats_are_refused(tiny: Callable[..., Config]) -> None:
    with pytest.raises(ValueError, match="the format must be youtube_vis"):
        tiny("data.format=coco", "data.clip={frames: 2}")
