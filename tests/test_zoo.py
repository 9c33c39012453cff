"""Models are found by path, by bundled, official and Hub name, in this order."""

from fnmatch import fnmatch
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from mask2former import zoo


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one bundled model, `cells`."""
    folder = tmp_path / "package" / "models" / "cells"
    folder.mkdir(parents=True)
    (folder / "config.json").touch()
    monkeypatch.setattr(zoo.resources, "files", lambda _: tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    return folder


def test_path_stands_for_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    assert zoo.find_model(str(tmp_path)) == tmp_path
    assert zoo.find_model(str(tmp_path / "config.json")) == tmp_path


def test_bundled_name_is_found(bundled: Path) -> None:
    assert zoo.bundled_models() == {"cells": bundled}
    assert zoo.find_model("cells") == bundled


def test_model_folder_goes_before_a_bundled_name(bundled: Path, tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "config.json").touch()
    assert zoo.find_model("cells") == Path("cells")


def test_folder_of_pictures_hides_no_model(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data named like a model is usual: `data.root=nuclei`, then `--model nuclei`."""
    monkeypatch.setattr(zoo, "find_published", lambda _: None)
    (tmp_path / "cells").mkdir()
    (tmp_path / "mine").mkdir()
    assert zoo.find_model("cells") == bundled
    assert zoo.find_model("mine") == Path("mine")  # whoever opens it says what it lacks


class Hub:
    """Stands for the Hub: a repository of some files, and what was asked for."""

    def __init__(self, folder: Path, *files: str) -> None:
        self.folder, self.files = folder, files
        self.asked: list[tuple[str, list[str]]] = []

    def fetch(self, repo_id: str, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        self.asked.append((repo_id, allow_patterns))
        for file in self.files:
            wanted = any(fnmatch(file, pattern) for pattern in allow_patterns)
            if wanted and not any(fnmatch(file, pattern) for pattern in ignore_patterns):
                (self.folder / file).parent.mkdir(exist_ok=True)
                (self.folder / file).touch()
        return str(self.folder)


@pytest.mark.parametrize(
    ("weights", "asked"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["model-1-of-2.safetensors", "model-2-of-2.safetensors", "model.safetensors.index.json"],)
        * 2,
        (["pytorch_model.bin"],) * 2,
    ],
)
@pytest.mark.parametrize(
    "hub_id",
    [
        "owner/model-v1.5",
        "facebook/mask2former-swin-tiny-ade-semantic",
        "me/mask2former-swin-tiny-coco-instance",  # not Facebook's
        "me/model_final_86143f",
    ],
)
def test_hub_id_is_fetched_with_one_kind_of_weights(
    hub_id: str,
    weights: list[str],
    asked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = ("flax_model.msgpack", "checkpoint-500/model.safetensors", "checkpoint-500/a.json")
    hub = Hub(tmp_path, "config.json", "README.md", *others, *weights)
    monkeypatch.setattr(zoo, "snapshot_download", hub.fetch)
    assert zoo.find_model(hub_id) == tmp_path
    assert {name for name, _ in hub.asked} == {hub_id}
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "README.md", *asked}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of official files."""
    monkeypatch.setenv(zoo.FOLDER_VARIABLE, str(tmp_path / "models"))
    return tmp_path / "models"


NAMES = (
    "coco/panoptic/r50",
    "model_final_94dc52.pkl",
    "model_final_94dc52",
    "a/model_final_94dc52.pkl",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nested", [".", "mask2former/coco/panoptic/maskformer2_R50_bs16_50ep"])
def test_official_file_is_taken_from_the_folder(name: str, nested: str, models: Path) -> None:
    file = models / nested / "model_final_94dc52.pkl"
    file.parent.mkdir(parents=True)
    file.touch()
    assert zoo.find_model(name) == file


@pytest.mark.parametrize("name", NAMES)
def test_official_file_is_downloaded_once(
    name: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(url: str, path: Path, *, md5: str, show: object) -> Path:
        assert url.endswith("/coco/panoptic/maskformer2_R50_bs16_50ep/model_final_94dc52.pkl")
        assert md5 == "94dc52"
        return path

    monkeypatch.setattr(zoo, "download", fetch)
    assert zoo.find_model(name) == models / "model_final_94dc52.pkl"


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth", "model.bin", "lone.safetensors"])
def test_file_of_weights_is_itself(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert zoo.find_model(str(tmp_path / name)) == tmp_path / name


def test_models_folder_is_in_the_cache_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(zoo.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert zoo.models_folder() == Path("/caches/mask2former")


def test_models_are_listed_by_words_and_task() -> None:
    everything = zoo.list_models()
    assert len(everything) == 59 + len(zoo.bundled_models())
    swin = zoo.list_models(["ade20k", "SWIN"], "semantic")
    assert [model.name for model in swin] == [
        f"ade20k/semantic/swin_{kind}" for kind in ("t", "s", "b", "b_22k", "l")
    ]
    assert {model.licence for model in swin} == {"CC BY-NC 4.0"}
    (nuclei,) = zoo.list_models(["nuclei"])
    assert (nuclei.url, nuclei.classes, nuclei.task) == (None, 1, "instance")
    assert zoo.list_models(["ade20k", "cityscapes"]) == []


@pytest.mark.parametrize(
    "error", [LocalEntryNotFoundError("no cache\nand no network"), OSError(), ConnectionError("x")]
)
def test_hub_that_gives_nothing_is_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(zoo, "snapshot_download", fail)
    with pytest.raises(ValueError, match="no model 'owner/model': no such path") as fault:
        zoo.find_model("owner/model")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("coco/panoptic/r5O", "coco/panoptic/r50"),
        ("model_final_94dc53.pkl", "model_final_94dc52.pkl"),
        (
            "facebook/mask2former-swin-tinny-coco-panoptic",
            "facebook/mask2former-swin-tiny-coco-pan",
        ),
    ],
)
def test_mistyped_name_suggests_the_nearest(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError

    monkeypatch.setattr(zoo, "snapshot_download", fail)
    with pytest.raises(ValueError, match=f"did you mean '{meant}"):
        zoo.find_model(name)


def test_unknown_name_suggests_what_there_is(bundled: Path) -> None:
    with pytest.raises(ValueError, match=r"no model 'cell'; did you mean 'cells'.*owner/name"):
        zoo.find_model("cell")
