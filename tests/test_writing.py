"""Files are the old ones or whole, have everybody's mode, and faults name them."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mask2former.writing import (
    demand_writable,
    growing_text,
    make_folder,
    replace_file,
    replace_text,
)


def test_written_file_has_the_usual_mode_whoever_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    usual = (tmp_path / "usual").stat().st_mode
    for name in ("a.txt", "a.safetensors"):
        path = tmp_path / name
        if name == "a.txt":
            replace_text(path, "é")
        else:  # which sets a mode of its own
            replace_file(path, lambda beside: save_file({"a": torch.ones(2)}, beside))
        assert path.stat().st_mode == usual
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "é"


def test_missing_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    replace_text(tmp_path / "a" / "b" / "c.txt", "text")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.txt"]


def test_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".json")
    replace_text(path, "text")
    assert path.read_text() == "text"


def test_names_that_begin_alike_are_written_beside_each_other(tmp_path: Path) -> None:
    """As two processes do: the second while the first is."""
    first, second = (tmp_path / f"{'a' * 50}{number}.txt" for number in (1, 2))

    def write(beside: Path) -> None:
        beside.write_text("first")
        replace_text(second, "second")

    replace_file(first, write)
    assert (first.read_text(), second.read_text()) == ("first", "second")


def test_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    replace_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"


def test_any_fault_of_a_writer_names_the_file_and_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_text("old")

    def fail(beside: Path) -> None:
        beside.write_text("ne")
        raise RuntimeError("a library's own error")

    with pytest.raises(OSError, match=r"a\.bin: cannot be written \(a library's own error\)"):
        replace_file(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.bin"]  # noqa: PTH208 - hidden files too


def test_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be written"):
        replace_text(tmp_path, "text")
    with pytest.raises(OSError, match="is a folder; name a file"):
        demand_writable(tmp_path)


def test_asking_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    demand_writable(tmp_path / "old")
    demand_writable(tmp_path / "deep" / "new")
    assert (tmp_path / "old").read_text() == "old"
    assert not (tmp_path / "deep" / "new").exists()
    with pytest.raises(OSError, match="cannot be written"):
        demand_writable(tmp_path / "old" / "below")


def test_pipe_is_written_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    demand_writable(tmp_path / "pipe")
    replace_text(tmp_path / "pipe", "text")
    assert os.read(reading, 9) == b"text"
    os.close(reading)
    assert (tmp_path / "pipe").is_fifo()


def test_path_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"a\.txt: cannot be written"):
        replace_text(tmp_path / "file" / "a.txt", "text")


def test_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OSError, match=r"out: no folder can be made there \(a file has its name\)"):
        make_folder(tmp_path / "out")


def test_growing_file_takes_its_place_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with growing_text(path) as write:
        write("é")
        assert not path.exists()
        write("\n2")
    assert path.read_text(encoding="utf-8") == "é\n2"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, TypeError, ValueError, OSError])
def test_growing_file_that_breaks_off_leaves_the_old_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with growing_text(path) as write:
            write("new")
            raise error("mine")

    with pytest.raises(error, match=r"^mine$"):  # as it was, and no fault of the file
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_growing_file_on_a_full_disk_is_named() -> None:
    with (
        pytest.raises(OSError, match="/dev/full: cannot be written"),
        growing_text(Path("/dev/full")) as write,
    ):
        write("text")
