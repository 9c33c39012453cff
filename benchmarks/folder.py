"""Memory over a long folder: the peak at picture 200 over that at picture 20.

The bundled model predicts and saves pictures of many sizes, in a process of its own.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from mask2former.benchmark import sample_picture
from mask2former.engine.predict import load
from mask2former.engine.predict_files import Session, find_pictures
from mask2former.machine import forget_peak, peak
from measure import Row, run

LIMIT = 1.05


def write_pictures(folder: Path, count: int) -> None:
    """Of many sizes and shapes; the first is shown to the network as large as any."""
    random = np.random.default_rng(0)
    heights = [512, *random.integers(256, 512, count - 1)]
    shapes = [1.5, *random.uniform(1, 1.5, count - 1)]
    for number, (height, shape) in enumerate(zip(heights, shapes, strict=True)):
        picture = sample_picture((int(height), int(height * shape)))
        Image.fromarray(picture).save(folder / f"{number:04d}.png", compress_level=1)


def watch(folder: Path, early: int, late: int) -> tuple[int | None, int | None]:
    """The peaks after `early` and `late` pictures, as `mask2former predict FOLDER` has them."""
    torch.set_num_threads(1)
    peaks, cpu = [], torch.device("cpu")
    forget_peak(cpu)
    predictor = load("nuclei", "cpu")
    session = Session(
        predictor, predictor.task, folder / "results", say=lambda line: peaks.append(peak(cpu))
    )
    session.run(find_pictures([str(folder)])[:late])
    assert session.done == late
    return peaks[early - 1], peaks[late - 1]


def collect(quick: bool) -> list[Row]:
    """One thread."""
    early, late = (4, 10) if quick else (20, 200)
    with (
        TemporaryDirectory() as name,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
    ):
        write_pictures(Path(name), late)
        first, last = process.submit(watch, Path(name), early, late).result()
    if first is None or last is None:
        raise SystemExit("this system does not tell how much memory a process has had")
    what = f"folder, peak at picture {late} over that at picture {early}, nuclei, 1 thread"
    told = f"{first / 1e6:.0f} MB, then {last / 1e6:.0f} MB"
    ratio = last / first
    return [Row(what, "", ratio, None, None, f"{LIMIT}", ratio <= LIMIT, told)]


if __name__ == "__main__":
    run("folder", collect)
