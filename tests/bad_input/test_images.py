"""Pictures as people have them: each works, or is named in one sentence while the others go on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mask2former.data import Shapes
from mask2former.engine.predict import Predictor
from mask2former.files import read_image

RED, GREY = (250, 10, 20), (77, 77, 77)
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6  # to be turned clockwise by a quarter

Make = Callable[[Path], object]


def flat(mode: str, color: object, size: tuple[int, int] = (40, 30), **how: object) -> Make:
    """Writes a picture of one colour."""
    return lambda path: Image.new(mode, size, color).save(path, **how)


def noise(size: tuple[int, int] = (40, 30)) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def cut(path: Path, length: int = -200) -> None:
    """Writes all but the end of a picture."""
    noise().save(path)
    path.write_bytes(path.read_bytes()[:length])


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((30, 40), 77 * 257, np.uint16)).save(path)


def animate(path: Path) -> None:
    frames = [Image.new("RGB", (40, 30), color) for color in (RED, "blue", "green")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def clear_palette(path: Path) -> None:
    picture = Image.new("P", (40, 30), 1)
    picture.putpalette([9, 9, 9, *RED])
    picture.putpixel((0, 0), 0)
    picture.save(path, transparency=0)


def broken_exif(path: Path) -> None:
    noise().save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff nothing follows")


WORKS: dict[str, tuple[str, Make, tuple[int, int], tuple[int, int, int] | None]] = {
    "one pixel": ("p.png", flat("RGB", RED, (1, 1)), (1, 1), RED),
    "one row": ("p.png", flat("RGB", RED, (5000, 1)), (5000, 1), RED),
    "one column": ("p.png", flat("RGB", RED, (1, 5000)), (1, 5000), RED),
    "black and white": ("p.png", flat("1", 1), (40, 30), (255, 255, 255)),
    "grey": ("p.png", flat("L", 77), (40, 30), GREY),
    "grey of 16 bits": ("p.png", sixteen_bits, (40, 30), GREY),
    "grey of 16 bits in a tiff": ("p.tif", sixteen_bits, (40, 30), GREY),
    "grey that is half clear": ("p.png", flat("LA", (0, 127)), (40, 30), (128, 128, 128)),
    "palette": ("p.png", flat("P", 0), (40, 30), (0, 0, 0)),
    "palette with a clear colour": ("p.png", clear_palette, (40, 30), RED),
    "clear": ("p.png", flat("RGBA", (0, 0, 0, 0)), (40, 30), (255, 255, 255)),
    "half clear": ("p.png", flat("RGBA", (*RED, 127)), (40, 30), (253, 133, 138)),
    "CMYK": ("p.tif", flat("CMYK", (0, 255, 255, 0)), (40, 30), (255, 0, 0)),
    "CMYK jpeg": ("p.jpg", flat("CMYK", (0, 255, 255, 0), quality=100), (40, 30), (254, 0, 0)),
    "turned by EXIF": ("p.jpg", flat("RGB", GREY, exif=SIDEWAYS), (30, 40), GREY),
    "turned by EXIF, png": ("p.png", flat("RGB", GREY, exif=SIDEWAYS), (30, 40), GREY),
    "broken EXIF": ("p.jpg", broken_exif, (40, 30), None),
    "animated": ("p.gif", animate, (40, 30), RED),
    "animated webp": ("p.webp", animate, (40, 30), None),
    "pages": ("p.tif", animate, (40, 30), RED),
    "ppm": ("p.ppm", flat("RGB", RED), (40, 30), RED),
    "tga": ("p.TGA", flat("RGB", RED, format="TGA"), (40, 30), RED),
    "jpeg 2000": ("p.jp2", flat("RGB", RED), (40, 30), RED),
    "jpeg named png": ("p.png", flat("RGB", GREY, format="JPEG"), (40, 30), GREY),
    "unicode": ("Zoë 細胞 🔬.png", flat("RGB", RED), (40, 30), RED),
    "spaces and marks": ("a  b%s{}[1].png", flat("RGB", RED), (40, 30), RED),
    "a line break": ("a\nb.png", flat("RGB", RED), (40, 30), RED),
    "no text": (os.fsdecode(b"\xff\xfe.png"), flat("RGB", RED), (40, 30), RED),
    "longest name": ("n" * 251 + ".png", flat("RGB", RED), (40, 30), RED),
    "longest name without an ending": ("n" * 255, flat("RGB", RED, format="PNG"), (40, 30), RED),
}
"""Kind -> name, how it is written, size of the result, and the colour that is read (or any)."""


@pytest.mark.parametrize(("name", "make", "size", "color"), WORKS.values(), ids=WORKS)
def test_picture_is_segmented(
    name: str,
    make: Make,
    size: tuple[int, int],
    color: tuple[int, int, int] | None,
    command: Callable,
    model: Path,
    tmp_path: Path,
) -> None:
    path, out = tmp_path / name, tmp_path / "out"
    make(path)
    said = command("predict", path, "--model", model, "--output", out)
    assert (said.status, said.err) == (0, "")
    [entry] = json.loads((out / "coco.json").read_text())["images"]
    assert (entry["width"], entry["height"]) == size
    assert len(list((out / "overlay").iterdir())) == 1
    assert ("the first of 3 pictures of the file" in said.out) == (make is animate)
    if color is not None:
        assert abs(read_image(path)[-1, -1].astype(int) - color).max() <= 2


FAULTS: dict[str, tuple[str, Make, str]] = {
    "empty": ("p.png", Path.touch, "is empty"),
    "cut": ("p.png", cut, "cannot be read (image file is truncated"),
    "cut jpeg": ("p.jpg", cut, "cannot be read (image file is truncated"),
    "cut in the header": (
        "p.png",
        lambda path: cut(path, 20),
        "cannot be read (Truncated File Read)",
    ),
    "cut tiff": ("p.tif", cut, "cannot be read ("),
    "text": ("p.png", lambda path: path.write_text("no picture"), "is not a picture"),
    "git lfs pointer": (
        "p.jpg",
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "is not a picture",
    ),
    "broken link": ("p.png", lambda path: path.symlink_to("gone.png"), "which its link names"),
    "circle of links": ("p.png", lambda path: path.symlink_to(path), "cannot be read ("),
    "no known range": ("p.tif", flat("F", 0.5), "32 bits a pixel have no known range"),
    "claims to be huge": (
        "p.ppm",
        lambda path: path.write_bytes(b"P6 100000 100000 255\n123"),
        "100000 x 100000 pixels are more than can be read at once; cut the picture",
    ),
    "a line break in the name": ("a\nb.png", Path.touch, "a b.png: is empty"),
}
"""Kind -> name, how it is written, and what is said of it."""


@pytest.mark.parametrize(("name", "make", "sentence"), FAULTS.values(), ids=FAULTS)
def test_fault_is_named_and_the_other_pictures_are_segmented(
    name: str, make: Make, sentence: str, command: Callable, model: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for other in ("0.png", "z.png"):
        noise().save(folder / other)
    make(folder / name)
    said = command("predict", folder, "--model", model, "--output", out)
    assert said.status == 2
    assert str(folder / name).replace("\n", " ") in said.complaint
    assert sentence in said.complaint
    assert "2 pictures in " in said.out
    assert "1 could not be read" in said.out
    images = json.loads((out / "coco.json").read_text())["images"]
    assert [entry["file_name"] for entry in images] == ["0.png", "z.png"]
    assert sorted(path.name for path in (out / "overlay").iterdir()) == ["0.png", "z.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_named(command: Callable, model: Path, tmp_path: Path) -> None:
    noise().save(tmp_path / "p.png")
    (tmp_path / "p.png").chmod(0)
    said = command("predict", tmp_path / "p.png", "--model", model, "--output", tmp_path / "out")
    assert said.status == 2
    assert "p.png: the picture cannot be read (Permission denied)" in said.complaint


def nothing(_: Path) -> None:
    pass


def documents(folder: Path) -> None:
    (folder / "in" / "sub").mkdir()
    for name in ("a.txt", "sub/b.pdf", ".hidden.png", "README"):
        (folder / "in" / name).touch()


@pytest.mark.parametrize(
    ("source", "make", "sentence"),
    [
        ("gone.png", nothing, "gone.png: no such file, and no file matches it as a pattern"),
        ("in", nothing, "in holds no picture"),
        ("in", documents, "in holds no picture, only 3 other files (no ending, .txt, .pdf)"),
        ("in/*.tif", nothing, "in/*.tif: no such file"),
        ("n" * 300, nothing, "n: file name too long"),
    ],
)
def test_no_picture_at_all_is_said(
    source: str, make: Make, sentence: str, command: Callable, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    make(tmp_path)
    said = command("predict", tmp_path / source, "--model", model, "--output", tmp_path / "out")
    assert said.status == 2
    assert sentence in said.complaint
    assert not (tmp_path / "out").exists()


def test_other_files_of_a_folder_are_counted(
    command: Callable, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    documents(tmp_path)
    noise().save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "folder.png").mkdir()
    out = tmp_path / "in" / "out"
    for _ in range(2):  # the results of the first time are not among the others
        said = command("predict", tmp_path / "in", "--model", model, "--output", out)
        assert (said.status, said.err) == (0, "")
        assert "in: 3 other files (no ending, .txt, .pdf) left out" in said.out
        assert "1/1 " in said.out


def taken(folder: Path) -> Path:
    (folder / "out").write_text("mine")
    return folder / "out"


def below_a_file(folder: Path) -> Path:
    return taken(folder) / "deeper"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (taken, "out: no folder can be made there (a file has its name); name another"),
        (below_a_file, "deeper: no folder can be made there (Not a directory); name another"),
    ],
)
def test_output_that_is_no_folder_is_named(
    make: Callable[[Path], Path], sentence: str, command: Callable, model: Path, tmp_path: Path
) -> None:
    noise().save(tmp_path / "p.png")
    said = command("predict", tmp_path / "p.png", "--model", model, "--output", make(tmp_path))
    assert said.status == 2
    assert sentence in said.complaint
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
def test_full_disk_keeps_earlier_results_and_leaves_no_half(
    task: str, command: Callable, model: Path, tmp_path: Path, full_disk: Callable
) -> None:
    noise((640, 640)).save(tmp_path / "p.png")
    predict = ("predict", tmp_path / "p.png", "--model", model, "--output", tmp_path / "out")
    assert command(*predict, "--task", task).status == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with full_disk(300):
        said = command(*predict, "--task", task)
    assert said.status == 2
    assert f"{tmp_path / 'out' / 'overlay' / 'p.png'}: cannot be written (" in said.complaint
    files = {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == before.keys()
    assert all(path.read_bytes() == old for path, old in before.items())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
    ids=repr,
)
def test_full_memory_is_said_and_the_other_pictures_are_segmented(
    error: Exception,
    command: Callable,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    segment = Predictor.segment

    def fail_on_large(self: Predictor, image: np.ndarray, *rest: object) -> object:
        if image.shape[1] == 100:
            raise error
        return segment(self, image, *rest)

    monkeypatch.setattr(Predictor, "segment", fail_on_large)
    noise((100, 9)).save(tmp_path / "large.png")
    noise().save(tmp_path / "small.png")
    said = command("predict", tmp_path, "--model", model, "--output", tmp_path / "out")
    assert said.status == 2
    assert "large.png: the memory is full; to predict, lower test.short_edge" in said.complaint
    assert "1 pictures in " in said.out


def test_bug_is_no_fault_of_the_picture(
    command: Callable, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Predictor, "segment", fail)
    noise().save(tmp_path / "p.png")
    with pytest.raises(RuntimeError, match="a bug"):
        command("predict", tmp_path / "p.png", "--model", model, "--output", tmp_path / "out")


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mask2former", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )


def test_keyboard_stops_with_one_line_and_status_130(model: Path, tmp_path: Path) -> None:
    noise((400, 400)).save(tmp_path / "0.png")
    for number in range(1, 2000):  # more than it can be through with before it hears the signal
        (tmp_path / f"{number}.png").hardlink_to(tmp_path / "0.png")
    process = start("predict", tmp_path, "--model", model, "--output", tmp_path / "out")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("1/2000 ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("mask2former: stopped; ")
    assert err.count("\n") == 1


def test_process_names_what_it_cannot_read(model: Path, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    noise().save(tmp_path / "p.png")
    process = start("predict", tmp_path, "--model", model, "--output", tmp_path / "out")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == f"mask2former: {tmp_path}/caf\\udce9.png: is empty\n"
    assert "p.png: 40x30 " in out


HUGE = """
import resource, sys
from mask2former.cli import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
def test_huge_picture_is_segmented(task: str, model: Path, tmp_path: Path) -> None:
    """20,000 x 20,000 pixels; measured: 7.1 GB for instances, 12.7 panoptic, 12.4 semantic."""
    tile = Image.fromarray(Shapes(1, (250, 250)).image(0))
    picture = Image.new("RGB", (20_000, 20_000), GREY)
    for corner in ((0, 0), (19_750, 0), (10_000, 10_000), (19_750, 19_750)):
        picture.paste(tile, corner)
    picture.save(tmp_path / "huge.png", compress_level=1)
    del picture
    arguments = ("predict", tmp_path / "huge.png", "--model", model, "--output", tmp_path / "out")
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", HUGE, *map(str, arguments), "--task", task],
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{task}: {ended.stderr.strip()} MB, {time.perf_counter() - began:.0f} s")
    assert ended.returncode == 0, ended.stderr
    assert "huge.png: 20000x20000 " in ended.stdout
    assert int(ended.stderr) < 16_000
