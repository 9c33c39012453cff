"""YouTube-VIS: clips in the order of time, tracks that keep their ids, faults in one sentence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mask2former import rle
from mask2former.data import Cached, YouTubeVIS, large_scale_jitter, training_loader
from mask2former.data.transforms import resize_only
from mask2former.data.video import draw_frames

HEIGHT, WIDTH = 20, 30


def box(top: int, left: int, size: int = 6) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + size, left : left + size] = True
    return mask


TRACKS = [
    [box(2, 2 + t) for t in range(4)],  # in all frames of the first video
    [box(10, 20), None, None, None],  # only in its first frame
    [None, box(3, 4), box(3, 5), None],  # on top of the first one
]


def document() -> dict[str, Any]:
    """Two videos of four frames and one, three tracks and a crowd."""
    names = [[f"first/{t}.png" for t in range(4)], ["second/0.png"]]
    videos = [
        {"id": number, "file_names": files, "height": HEIGHT, "width": WIDTH}
        for number, files in zip((7, 3), names, strict=True)
    ]
    annotations = [
        {
            "id": number,
            "video_id": 7,
            "category_id": (5, 9, 9)[number - 1],
            "segmentations": [None if mask is None else rle.encode(mask) for mask in track],
        }
        for number, track in enumerate(TRACKS, start=1)
    ]
    polygon = [1.0, 1.0, 9.0, 1.0, 9.0, 9.0, 1.0, 9.0]
    annotations.append(
        {"id": 4, "video_id": 3, "category_id": 5, "iscrowd": 1, "segmentations": [[polygon]]}
    )
    categories = [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}]
    return {"videos": videos, "annotations": annotations, "categories": categories}


Change = Callable[[dict[str, Any]], None]


def open_set(folder: Path, change: Change = lambda _: None, **options: int) -> YouTubeVIS:
    found = document()
    for number, video in enumerate(found["videos"]):
        for t, name in enumerate(video["file_names"]):
            path = folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((HEIGHT, WIDTH, 3), 10 * t + 100 * number, np.uint8)
            Image.fromarray(pixels).save(path)
    change(found)
    (folder / "tracks.json").write_text(json.dumps(found))
    return YouTubeVIS(folder / "images", folder / "tracks.json", **options)


def frames_of(sample: Any) -> list[int]:
    return [int(frame[0, 0, 0]) // 10 for frame in sample["image"]]


def test_sample_is_a_pair_of_frames_with_the_tracks_in_them(tmp_path: Path) -> None:
    videos = open_set(tmp_path)
    drawn = set()
    for _ in range(60):
        sample = videos.sample(0)
        first, second = frames = frames_of(sample)
        assert first < second
        drawn.add((first, second))
        assert sample["image"].shape == (2, 3, HEIGHT, WIDTH)
        assert sample["ids"].shape[1:] == (2, HEIGHT, WIDTH)
        seen = [track for track in TRACKS if any(track[t] is not None for t in frames)]
        assert sample["labels"].shape == (len(seen),)
        for number, track in enumerate(seen, start=1):
            found = (sample["ids"] == number).any(0).numpy()
            for place, t in enumerate(frames):
                assert np.array_equal(
                    found[place], track[t] if track[t] is not None else box(0, 0, 0)
                )
    assert drawn == {(a, b) for a in range(4) for b in range(a + 1, 4)}


def test_track_of_the_first_frame_keeps_its_class_in_the_pair(tmp_path: Path) -> None:
    """The official reader takes the class from the last frame's record, which has none."""
    videos = open_set(tmp_path)
    for _ in range(30):
        sample = videos.sample(0)
        dogs = int((sample["labels"] == 1).sum())
        assert dogs == (0 in frames_of(sample)) + (not {1, 2}.isdisjoint(frames_of(sample)))


def test_overlapping_tracks_take_a_layer_each_for_the_whole_clip(tmp_path: Path) -> None:
    sample = open_set(tmp_path, frames=4).sample(0)
    assert sample["ids"].shape[0] == 2
    for number in range(1, 4):
        assert sum(bool((layer == number).any()) for layer in sample["ids"]) == 1


def test_short_video_repeats_the_frame_that_was_drawn_first(tmp_path: Path) -> None:
    videos = open_set(tmp_path, frames=3)
    assert frames_of(videos.sample(1)) == [10, 10, 10]
    assert videos.sample(1)["labels"].numel() == 0  # crowds are no targets


@pytest.mark.parametrize(
    ("length", "count", "reach"), [(9, 2, 20), (9, 2, 1), (9, 4, 3), (5, 9, 2)]
)
def test_frames_lie_within_reach_of_one_of_them(length: int, count: int, reach: int) -> None:
    firsts: Counter[int] = Counter()
    for _ in range(300):
        drawn = draw_frames(length, count, reach)
        assert drawn == sorted(drawn)
        assert len(drawn) == count
        assert 0 <= drawn[0] <= drawn[-1] < length
        assert any(all(abs(f - one) <= reach for f in drawn) for one in drawn)
        repeated = [frame for frame, times in Counter(drawn).items() if times > 1]
        assert len(repeated) <= 1
        if repeated:  # only because there were too few others
            (one,) = repeated
            near = [f for f in range(length) if abs(f - one) <= reach]
            assert set(drawn) == set(near)
        firsts[drawn[0]] += 1
    assert len(firsts) > 1


def test_draws_follow_the_position_in_the_stream(tmp_path: Path) -> None:
    """Not the number of workers, and not what was drawn before; the cache keeps no draw."""
    videos = open_set(tmp_path)
    streams = []
    for start, workers in ((0, 0), (0, 2), (3, 0)):
        loader = training_loader(
            Cached(videos, 100), resize_only(32), 1, seed=3, start=start, workers=workers
        )
        batches = [next(loader) for _ in range(12 - start)]
        streams.append([batch.images for batch in batches])
    assert all(torch.equal(a, b) for a, b in zip(streams[0], streams[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(streams[0][3:], streams[2], strict=True))
    assert len({int(images.sum()) for images in streams[0]}) > 3


def test_subset_of_videos_varies_too(tmp_path: Path) -> None:
    assert open_set(tmp_path).select([0]).varies


def test_augmentation_moves_all_frames_and_ids_alike(tmp_path: Path) -> None:
    videos = open_set(tmp_path, frames=4)
    sample = large_scale_jitter(64)(videos.sample(0))
    assert sample["image"].shape == (4, 3, 64, 64)
    assert sample["ids"].shape[1:] == (4, 64, 64)


def test_truth_has_whole_tracks_side_by_side(tmp_path: Path) -> None:
    videos = open_set(tmp_path)
    truth = videos.truth(0)
    assert truth.size == (HEIGHT, 4 * WIDTH)
    for found, track in zip(truth.instances or [], TRACKS, strict=True):
        empty = box(0, 0, 0)
        frames = [empty if mask is None else mask for mask in track]
        assert np.array_equal(rle.decode(found.rle), np.concatenate(frames, axis=1))
        assert found.area == 36  # a frame, of those that show it
    assert [found.is_crowd for found in videos.truth(1).instances or []] == [True]


def test_stated_areas_count_where_the_object_is_seen(tmp_path: Path) -> None:
    def state(found: dict[str, Any]) -> None:
        found["annotations"][1]["areas"] = [30, None, 0, 40]

    assert [t.area for t in open_set(tmp_path, state).truth(0).instances or []] == [36, 35, 36]


def test_image_is_the_whole_clip_and_file_its_folder(tmp_path: Path) -> None:
    videos = open_set(tmp_path)
    assert videos.image(0).shape == (4, HEIGHT, WIDTH, 3)
    assert videos.image(0)[:, 0, 0, 0].tolist() == [0, 10, 20, 30]
    assert videos.file(0) == tmp_path / "images" / "first"
    assert videos.categories.names == ["cat", "dog"]


def put(*keys: str | int, value: Any) -> Change:
    """Set what lies under a chain of keys."""

    def change(found: Any) -> None:
        *path, last = keys
        for key in path:
            found = found[key]
        found[last] = value

    return change


def drop(*keys: str | int) -> Change:
    def change(found: Any) -> None:
        *path, last = keys
        for key in path:
            found = found[key]
        del found[last]

    return change


FIRST = ("annotations", 0)
FAULTS: list[tuple[Change, str]] = [
    (put("videos", 0, "file_names", value=["first/0.png", "gone.png"]), r"1 of its files.*gone"),
    (put("videos", 1, "file_names", value=[]), "video 3 has no frame"),
    (put("videos", 1, "id", value=7), "video id 7 occurs more than once"),
    (put(*FIRST, "video_id", value=8), "annotation 1 is of video 8, which 'videos' does not list"),
    (put(*FIRST, "category_id", value=8), "annotation 1 is of the unknown category 8"),
    (put(*FIRST, "id", value=2), "annotation id 2 occurs more than once"),
    (put(*FIRST, "segmentations", value=[None]), "has 1 segmentations, but its video has 4 frames"),
    (put(*FIRST, "segmentations", value=7), "has no list of segmentations"),
    (put(*FIRST, "segmentations", 1, value={"size": [9, 9], "counts": "1"}), "annotation 1"),
    (put(*FIRST, "segmentations", 1, value="mask"), "annotation 1"),
    (put(*FIRST, "areas", value=4), "'areas' of an annotation"),
    (drop(*FIRST, "segmentations"), "annotation .id 1. has no 'segmentations'"),
    (drop("videos"), "'videos'"),
    (put("annotations", value=7), "'annotations'"),
]


@pytest.mark.parametrize(("change", "sentence"), FAULTS)
def test_fault_is_one_sentence_with_the_file(tmp_path: Path, change: Change, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as raised:
        open_set(tmp_path, change)
    assert str(tmp_path / "tracks.json") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_split_without_labels_is_seen_but_neither_trained_nor_measured(tmp_path: Path) -> None:
    videos = open_set(tmp_path, drop("annotations"))
    assert videos.image(0).shape[0] == 4
    for ask in (videos.sample, videos.truth):
        with pytest.raises(ValueError, match=r"tracks\.json has no annotations"):
            ask(0)


def test_frame_of_another_size_is_named(tmp_path: Path) -> None:
    videos = open_set(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "second" / "0.png")
    with pytest.raises(
        ValueError, match=r"second/0\.png: the file is 8 x 8 pixels, but .* 30 x 20"
    ):
        videos.sample(1)


@pytest.mark.parametrize(
    ("name", "images", "videos", "tracks"),
    [
        ("davis_vis", "JPEGImages/train", 9, 10),
        ("nuclei_drift_vis", "JPEGImages/train", 48, 513),
        ("camvid_vis", "../camvid/images/val", 2, 28),
    ],
)
def test_real_videos_are_read(
    shared_data: Path, name: str, images: str, videos: int, tracks: int
) -> None:
    folder = shared_data / name
    found = YouTubeVIS(folder / images, folder / "instances_train.json")
    assert len(found) == videos
    truths = [found.truth(index) for index in range(len(found))]
    assert sum(len(truth.instances or []) for truth in truths) == tracks
    sample = found.sample(0)
    assert sample["image"].shape[0] == 2
    assert set(sample["ids"].unique().tolist()) <= set(range(len(sample["labels"]) + 1))


def test_chosen_videos_keep_their_tracks_and_numbers(tmp_path: Path) -> None:
    videos = open_set(tmp_path)
    chosen = videos.select([1])
    assert (len(videos), len(chosen)) == (2, 1)
    assert chosen.image_id(0) == 3
    assert chosen.truth(0).instances == videos.truth(1).instances != []
    assert chosen.is_labelled and chosen.categories == videos.categories
