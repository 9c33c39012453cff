"""`mask2former export` end to end, and what its files are good for without this package."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former import cli
from mask2former.data import Shapes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable:
    """Gives a command's exit status and what it printed."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mask2former", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


def test_command_exports_and_says_what_it_checked(run, model_folder, tmp_path):
    path = tmp_path / "tiny.onnx"
    status, out, err = run(
        "export", model_folder, "--format", "onnx", "--size", "64x96", "--output", path
    )
    assert status == 0, err
    assert path.is_file()
    assert out.count("checked: 64x96, batch") == 2
    assert f"saved: {path} (onnx, fp32, 64x96, outputs: network)" in out
    assert "model licence: none, it is a test" in out
    Image.fromarray(Shapes(1, (50, 70)).image(0)).save(tmp_path / "shapes.png")
    found = tmp_path / "found"
    status, _, err = run("predict", tmp_path / "shapes.png", "--model", path, "--output", found)
    assert status == 0, err
    assert_served(path, tmp_path / "shapes.png")
    status, out, err = run("benchmark", path, "--json")
    assert status == 0, err
    assert json.loads(out)["rows"][0]["size"] == [64, 96]
    status, _, err = run("explain", tmp_path / "shapes.png", "--model", path)
    assert status == 2
    assert "explain takes the model" in err
    status, _, err = run("convert", path, tmp_path / "converted")
    assert status == 2
    assert "is an exported file" in err


def assert_served(path: Path, picture: Path) -> None:
    """A server answers with an exported file as with any other model."""
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from mask2former.engine.predict import load
    from mask2former.serve.app import create_app

    predictor = load(path)
    client = TestClient(create_app(predictor))
    found = client.post("/predict?threshold=0", content=picture.read_bytes()).json()["regions"]
    expected = [score for score in predictor(picture).scores.tolist() if score]
    assert [region["score"] for region in found] == expected[: len(found)]
    assert found


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--format", "tflite"], "choose openvino or onnx"),
        (["--format", "onnx", "--output", "model.pt"], "ends in .onnx"),
        (["--format", "openvino", "--output", "model.xml"], "two files go to a folder"),
        (["--format", "openvino", "--output", "."], "there is something else"),
        (["--format", "onnx", "--int8", "."], "--int8 is for OpenVINO"),
        (["--format", "onnx", "--size", "100"], "write height x width"),
        (["--format", "openvino", "--calibrate", "3"], "--calibrate is for --int8 DATA"),
        (["--format", "openvino", "--int8", "test.short_edge=3"], "of test.* only test.task"),
    ],
)
def test_wrong_options_are_one_sentence(words, sentence, run, model_folder):
    status, _, err = run("export", model_folder, *words)
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1


def test_missing_libraries_are_named(run, model_folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = run("export", model_folder, "--format", "onnx")
    assert status == 2
    assert "onnx and onnxscript and onnxruntime must be installed; pip install" in err


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
def test_examples_need_neither_torch_nor_this_package(task, make, tmp_path):
    form = "openvino" if task == "instance" else "onnx"
    path = make(form, task, size=(64, 96), outputs="result")
    example = "openvino_picture.py" if form == "openvino" else "onnxruntime_picture.py"
    Image.fromarray(Shapes(1, (50, 70)).image(0)).save(tmp_path / "shapes.png")
    words = [str(path), str(tmp_path / "shapes.png"), str(tmp_path / "found.png")]
    block = "import sys, runpy; sys.modules.update(torch=None, mask2former=None, torchvision=None)"
    code = (
        f"{block}; sys.argv[1:] = {words!r}; runpy.run_path({str(ROOT / 'examples' / example)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pixels" in done.stdout
    with Image.open(tmp_path / "found.png") as drawn:
        assert np.asarray(drawn).shape[2] == 3
