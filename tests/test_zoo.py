"""Models are found by path, by bundled name and by Hub id, in this order."""

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


def test_existing_path_goes_before_a_bundled_name(bundled: Path, tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    assert zoo.find_model("cells") == Path("cells")


@pytest.mark.parametrize("hub_id", ["owner/model", "owner/model-v1.5"])
def test_hub_id_is_fetched(hub_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(repo_id: str, allow_patterns: list[str]) -> str:
        asked.append((repo_id, *allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(zoo, "snapshot_download", fetch)
    assert zoo.find_model(hub_id) == tmp_path
    assert asked == [(hub_id, "config.json", "model.safetensors")]


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


def test_unknown_name_lists_what_there_is(bundled: Path) -> None:
    with pytest.raises(ValueError, match=r"no model 'cell'.*\(cells\).*owner/name"):
        zoo.find_model("cell")
