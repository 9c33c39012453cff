"""Files in, files out: what is named is found, told apart, and readable again."""

import json
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former.data import CocoInstances, CocoPanoptic, LabelMaps, Shapes
from mask2former.engine.predict import Predictor
from mask2former.engine.predict_files import Session, find_pictures, name_apart

SHAPES = Shapes(4, (32, 40))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder: a.png, b.jpg, sub/c.PNG and two files that are no pictures."""
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.jpg", "sub/c.PNG")):
        Image.fromarray(SHAPES.image(index)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    (folder / "paper.pdf").write_text("no picture")
    return folder


def names(found: list[Path]) -> list[str]:
    return [path.name for path in found]


def test_folder_gives_all_pictures_below_it(pictures: Path) -> None:
    assert names(find_pictures([str(pictures)])) == ["a.png", "b.jpg", "c.PNG"]


@pytest.mark.parametrize("pattern", ["*.png", "**/*.PNG", "[ab].*"])
def test_glob_is_the_same_absolute_and_relative(
    pattern: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = find_pictures([str(pictures / pattern)])
    monkeypatch.chdir(pictures)
    relative = find_pictures([pattern])
    assert names(absolute) == names(relative)
    assert len(absolute) > 0
    assert all(path.is_absolute() for path in absolute)


def test_glob_leaves_folders_out(pictures: Path) -> None:
    assert "sub" not in names(find_pictures([str(pictures / "*")]))


def test_sources_are_joined_without_repeats(pictures: Path) -> None:
    found = find_pictures([str(pictures / "b.jpg"), str(pictures)])
    assert names(found) == ["b.jpg", "a.png", "c.PNG"]


def test_earlier_results_are_left_out_and_counted(pictures: Path) -> None:
    for name in ("overlay/a.png", "panoptic/deep/a.png", "a.png"):
        path = pictures / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(SHAPES.image(0)).save(path)
    said: list[str] = []
    sources = [str(pictures), str(pictures / "**" / "*.png")]
    found = find_pictures(sources, output=pictures / "out", say=said.append)
    assert names(found) == ["a.png", "b.jpg", "a.png", "c.PNG"]
    assert said == [
        f"{pictures}: 2 other files (.txt, .pdf) left out",
        f"2 earlier results below {pictures / 'out'} are left out",
    ]
    named = str(pictures / "out" / "overlay" / "a.png")
    assert names(find_pictures([named], output=pictures / "out", say=said.append)) == ["a.png"]
    assert len(said) == 2


def test_pictures_may_lie_in_the_output_folder(pictures: Path) -> None:
    assert len(find_pictures([str(pictures)], output=pictures)) == 3


def test_nothing_but_earlier_results_is_said(pictures: Path) -> None:
    (pictures / "sub").rename(pictures / "overlay")
    with pytest.raises(ValueError, match="nothing but results of an earlier run"):
        find_pictures([str(pictures / "overlay")], output=pictures, say=lambda line: None)


def test_named_file_stays_whatever_it_is(pictures: Path) -> None:
    assert names(find_pictures([str(pictures / "notes.txt")])) == ["notes.txt"]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [("gone.png", "no such file"), ("*.tif", "no file matches"), ("empty", "holds no picture")],
)
def test_nothing_found_is_said(source: str, sentence: str, pictures: Path) -> None:
    (pictures / "empty").mkdir()
    with pytest.raises(ValueError, match=sentence):
        find_pictures([str(pictures / source)])


def test_own_names_are_kept_where_they_differ() -> None:
    assert name_apart([Path("/p/a.png"), Path("q/b.jpg")]) == ["a.png", "b.jpg"]


@pytest.mark.parametrize(
    "files",
    [
        ["a/x.png", "b/x.png"],
        ["/a/x.png", "a/x.png"],
        ["d/x.png", "d/x.jpg"],
        ["a_x.png", "a/x.png", "b/x.png"],
        ["a/x.png", "b/x.png", "c/a_x.png"],
        ["a/b_x.png", "a_b/x.png", "a/b/x.png"],
        ["a/X.png", "b/x.png", "a/x.jpg"],
    ],
)
def test_equal_names_are_told_apart(files: list[str]) -> None:
    named = name_apart([Path(file) for file in files])
    stems = {Path(name).stem.casefold() for name in named}  # as macOS and Windows tell them apart
    assert len(stems) == len(files)
    assert [Path(name).suffix for name in named] == [Path(file).suffix for file in files]
    assert not any("/" in name for name in named)


def run(predictor: Predictor, task: str, source: Path, output: Path, **choice: tuple) -> Session:
    session = Session(
        predictor, task, output, say=lambda _: None, complain=lambda _: None, **choice
    )
    session.run(find_pictures([str(source)]))
    return session


def test_instance_file_is_read_back(predictor: Predictor, pictures: Path, tmp_path: Path) -> None:
    (pictures / "sub" / "c.PNG").rename(pictures / "c.PNG")
    session = run(predictor, "instance", pictures, tmp_path / "out")
    assert (session.done, session.failed) == (3, 0)
    assert session.written == [str(tmp_path / "out/coco.json"), f"{tmp_path / 'out/overlay'}/"]
    again = CocoInstances(pictures, tmp_path / "out" / "coco.json")
    assert again.categories == predictor.categories
    result = predictor(pictures / "a.png", task="instance", threshold=0.0)
    assert len(again.truth(0).instances or []) == len(result.plain.scores)
    drawn = sorted(path.name for path in (tmp_path / "out" / "overlay").iterdir())
    assert drawn == ["a.png", "b.png", "c.png"]


def test_panoptic_files_are_read_back(predictor: Predictor, pictures: Path, tmp_path: Path) -> None:
    (pictures / "sub" / "c.PNG").rename(pictures / "c.PNG")
    run(predictor, "panoptic", pictures, tmp_path)
    again = CocoPanoptic(pictures, tmp_path / "panoptic.json")
    result = predictor(pictures / "a.png", task="panoptic")
    truth = again.truth(0)
    np.testing.assert_array_equal(truth.panoptic, result.plain.ids[0])
    assert [segment.label for segment in truth.segments] == [
        segment.label for segment in result.plain.segments
    ]


def test_label_maps_are_read_back(predictor: Predictor, pictures: Path, tmp_path: Path) -> None:
    (pictures / "sub" / "c.PNG").rename(pictures / "c.png")
    run(predictor, "semantic", pictures, tmp_path)
    again = LabelMaps(pictures, tmp_path / "labels", predictor.categories)
    assert len(again) == 3
    with Image.open(tmp_path / "labels" / "a.png") as image:
        result = predictor(pictures / "a.png", task="semantic")
        np.testing.assert_array_equal(np.asarray(image), result.plain.labels[0])


def test_only_the_chosen_formats_are_written(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    session = run(predictor, "instance", pictures / "a.png", out, formats=("overlay",))
    assert [path.name for path in out.iterdir()] == ["overlay"]
    assert session.written == [f"{out / 'overlay'}/"]


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
def test_broken_file_is_told_and_the_others_go_on(
    task: str, predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "aa.png").write_bytes((pictures / "a.png").read_bytes()[:200])
    said: list[str] = []
    complaints: list[str] = []
    session = Session(
        predictor, task, tmp_path / "out", say=said.append, complain=complaints.append
    )
    session.run(find_pictures([str(pictures)]))
    assert (session.done, session.failed) == (3, 1)
    assert len(said) == 3
    assert "aa.png" in complaints[0]
    assert len(complaints) == 1
    assert len(list((tmp_path / "out" / "overlay").iterdir())) == 3
    if task == "instance":
        entries = json.loads((tmp_path / "out" / "coco.json").read_text())["images"]
        assert [entry["file_name"] for entry in entries] == ["a.png", "b.jpg", "sub/c.PNG"]


def test_equal_names_in_different_folders_are_all_written(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    Image.fromarray(SHAPES.image(3)).save(pictures / "sub" / "a.png")
    Image.fromarray(SHAPES.image(3)).save(pictures / "sub" / "a.jpg")
    run(predictor, "panoptic", pictures, tmp_path / "out")
    assert len(list((tmp_path / "out" / "overlay").iterdir())) == 5
    assert len(list((tmp_path / "out" / "panoptic").iterdir())) == 5
    listed = json.loads((tmp_path / "out" / "panoptic.json").read_text())["images"]
    assert all((pictures / entry["file_name"]).is_file() for entry in listed)
    assert len({entry["file_name"] for entry in listed}) == 5


def test_line_tells_size_and_findings(predictor: Predictor, pictures: Path, tmp_path: Path) -> None:
    said: list[str] = []
    session = Session(predictor, "instance", tmp_path, threshold=1.0, say=said.append)
    session.run([pictures / "a.png"])
    assert said[0].startswith(f"1/1 {pictures / 'a.png'}: 40x32  nothing above score 1  (")


def test_unknown_format_lists_those_of_the_task(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="cannot save 'panoptic' of instance results; it holds one segment a pixel"
    ):
        Session(predictor, "instance", tmp_path, formats=("overlay", "panoptic"))


def test_results_and_lines_are_those_of_one_by_one(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "aa.png").write_text("no picture")
    heard: list[str] = []
    session = Session(
        predictor, "instance", tmp_path / "all", say=heard.append, complain=heard.append
    )
    files = find_pictures([str(pictures)])
    session.run(files)
    assert [str(file) in line for file, line in zip(files, heard, strict=True)] == [True] * 4
    assert [line[:3] for line in heard if line[1:2] == "/"] == ["1/4", "3/4", "4/4"]
    for file in (file for file in files if file.name != "aa.png"):
        run(predictor, "instance", file, tmp_path / "one")
        name = f"overlay/{file.stem}.png"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()


@pytest.mark.parametrize("stage", ["read", "segment", "draw", "say"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, TypeError, OSError])
def test_what_nobody_can_mend_ends_the_run_and_its_threads(
    stage: str,
    error: type[BaseException],
    predictor: Predictor,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error("stopped")

    session = Session(predictor, "instance", tmp_path / "out", say=lambda _: None)
    match stage:
        case "read" | "segment":
            monkeypatch.setattr(Predictor, stage, fail)
        case _:
            monkeypatch.setattr(session, stage, fail)
    threads = threading.active_count()
    with pytest.raises(error, match="stopped"):
        session.run(find_pictures([str(pictures)], say=lambda _: None))
    assert threading.active_count() == threads
    assert not (tmp_path / "out" / "coco.json").exists()


def test_a_long_folder_needs_no_more_memory_than_a_short_one(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never are more results alive than one that is written and those before and after it."""
    (tmp_path / "in").mkdir()
    for index in range(12):
        Image.fromarray(SHAPES.image(index % 4)).save(tmp_path / "in" / f"{index}.png")
    alive: list[weakref.ref] = []
    most = 0
    plain = Predictor.answer

    def watched(*arguments: object) -> object:
        nonlocal most
        result = plain(*arguments)  # pyrefly: ignore[bad-argument-type]
        alive.append(weakref.ref(result))
        most = max(most, sum(ref() is not None for ref in alive))
        return result

    monkeypatch.setattr(Predictor, "answer", watched)
    run(predictor, "instance", tmp_path / "in", tmp_path / "out")
    assert len(alive) == 12
    assert most <= 3
