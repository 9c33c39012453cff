"""Read clips: folders of frames, and video files through PyAV (the extra `video`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from mask2former.files import is_picture, read_image

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})
"""The endings, in lower case, of files that hold many frames."""


def read_clip(
    path: str | Path, read: Callable[[Path], np.ndarray] = read_image
) -> Iterator[np.ndarray]:
    """The frames of a folder, as `read` gives them, or of a video file: RGB, uint8 (H, W, 3)."""
    path = Path(path)
    if path.is_dir():
        return map(read, by_number(filter(is_picture, path.iterdir())))
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if not is_video(path):
        raise ValueError(f"{path} is neither a folder of frames nor a video file")
    return read_video(path)


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its ending."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def by_number(files: Iterable[Path]) -> list[Path]:
    """Sort the frames of a clip: frame 2 comes before frame 10."""
    return sorted(files, key=lambda file: _number_and_text(file.name))


def _number_and_text(name: str) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def read_video(path: str | Path) -> Iterator[np.ndarray]:
    """Decode a video file, frame after frame, upright: RGB, uint8 (H, W, 3)."""
    try:
        import av  # pyrefly: ignore[missing-import]
    except ImportError:
        raise ValueError(
            f"{path}: video files are read with PyAV; `pip install mask2former[video]`, "
            "or give a folder of frames"
        ) from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path}: holds no video")
            for frame in container.decode(video=0):
                # The camera's turn is a note beside the pixels, counter-clockwise.
                yield np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: the video cannot be read ({error.strerror})") from error


def stack_frames(frames: Iterable[np.ndarray], name: str) -> np.ndarray:
    """A clip (T, H, W, 3); ValueError where there is no frame, or one of another size."""
    pictures = list(frames)
    if not pictures:
        raise ValueError(f"{name}: a clip needs at least one frame, and there is none")
    first = pictures[0].shape
    for number, picture in enumerate(pictures):
        if picture.shape != first:
            raise ValueError(
                f"{name}: the frames of a clip are of one size, but frame {number} is "
                f"{picture.shape[1]} x {picture.shape[0]} and the first {first[1]} x {first[0]}"
            )
    return np.stack(pictures)
