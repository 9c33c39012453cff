"""Clips: frames in the order of time, whatever holds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former.frames import (
    by_number,
    is_video,
    read_clip,
    read_video,
    stack_frames,
)


def moving_bar(frames: int = 5) -> np.ndarray:
    """A white bar that goes to the right, (T, 32, 48, 3); the top row of blocks stays black."""
    clip = np.zeros((frames, 32, 48, 3), np.uint8)
    for t in range(frames):
        clip[t, 8:, 8 * t : 8 * t + 8] = 255
    return clip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Frames without leading zeros, and a file that is no picture."""
    for number, frame in enumerate(moving_bar(6), start=7):
        Image.fromarray(frame).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    return tmp_path


def test_frames_of_a_folder_come_by_number(folder: Path) -> None:
    assert np.array_equal(stack_frames(read_clip(folder), "clip"), moving_bar(6))


def test_numbers_are_sorted_as_numbers() -> None:
    names = ["a10.png", "a9.png", "a09.png", "b1.png", "a.png", "10.png", "9.png", "é2.png"]
    ordered = [path.name for path in by_number(map(Path, names))]
    assert ordered.index("a9.png") < ordered.index("a10.png")
    assert ordered.index("a09.png") < ordered.index("a10.png")
    assert ordered.index("9.png") < ordered.index("10.png")
    assert by_number(map(Path, reversed(names))) == by_number(map(Path, names))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [("gone", "no such file or folder"), ("notes.txt", "neither a folder of frames nor a video")],
)
def test_what_is_no_clip_is_said(folder: Path, source: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"{source}.*{sentence}"):
        read_clip(folder / source)


def test_folder_without_frames_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holidays: a clip needs at least one frame"):
        stack_frames(read_clip(tmp_path), "holidays")


def test_frame_of_another_size_is_numbered() -> None:
    frames = [np.zeros((4, 6, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]
    with pytest.raises(ValueError, match=r"clip: .* frame 1 is 5 x 4 and the first 6 x 4"):
        stack_frames(frames, "clip")


def test_videos_are_told_by_their_ending() -> None:
    assert is_video(Path("a/b.MP4"))
    assert not is_video(Path("a/mp4"))


def test_video_without_pyav_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ValueError, match=r"v\.mp4: .* PyAV; `pip install mask2former\[video\]`"):
        next(read_video(tmp_path / "v.mp4"))


@pytest.fixture
def write_video(tmp_path: Path) -> Callable[[np.ndarray], Path]:
    """Encodes frames; skips visibly where PyAV is not installed."""
    av = pytest.importorskip("av", reason="PyAV (the extra `video`) is not installed")

    def write(frames: np.ndarray) -> Path:
        path = tmp_path / "clip.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=5)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return write


def test_video_is_decoded_frame_after_frame(write_video: Callable[[np.ndarray], Path]) -> None:
    found = stack_frames(read_clip(write_video(moving_bar())), "clip")
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - moving_bar()).mean() < 8


def test_video_of_a_turned_camera_is_upright(write_video: Callable[[np.ndarray], Path]) -> None:
    path = write_video(moving_bar())
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 24 + 16  # the track's display matrix, 16.16 fixed point
    one = 1 << 16
    turned = np.array([0, one, 0, -one, 0, 0, 0, 0, 1 << 30], ">i4")  # clockwise
    content[start : start + 36] = turned.tobytes()
    path.write_bytes(content)
    found = stack_frames(read_video(path), "clip").astype(int)
    expected = np.rot90(moving_bar(), -1, axes=(1, 2))
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 8


def test_broken_video_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV (the extra `video`) is not installed")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"broken\.mp4: the video cannot be read"):
        next(read_video(tmp_path / "broken.mp4"))


def test_hidden_files_are_no_frames(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"half of a file")
    assert len(list(read_clip(tmp_path))) == 1
