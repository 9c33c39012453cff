"""Files that cannot be run, and options that they cannot have, are one sentence each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mask2former
from mask2former import runtime
from mask2former.card import ModelCard
from mask2former.checkpoint import load_model
from mask2former.config import Config, load_config
from mask2former.data import Shapes
from mask2former.runtime import FORMAT, KEY, ExportedNetwork, Passport, is_exported
from mask2former.zoo import find_model


@pytest.fixture
def passport() -> Passport:
    card = ModelCard(Config(), Shapes(1).categories, "a test")
    return Passport(card, "network", "fp32", (64, 96), None, "0.1.0")


@pytest.fixture(params=["onnx", "openvino"])
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str | None], Path]:
    """Writes a model of one addition with metadata, and gives its path."""

    def write(text: str | None) -> Path:
        if request.param == "onnx":
            from onnx import TensorProto, helper, save

            sides = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "ab"]
            node = helper.make_node("Add", ["a", "a"], ["b"])
            graph = helper.make_graph([node], "plain", sides[:1], sides[1:])
            model = helper.make_model(
                graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10
            )
            if text is not None:
                helper.set_model_props(model, {KEY: text})
            save(model, tmp_path / "plain.onnx")
            return tmp_path / "plain.onnx"
        import openvino
        from openvino import opset13

        given = opset13.parameter([1], np.float32)
        model = openvino.Model([opset13.add(given, given)], [given])
        if text is not None:
            model.set_rt_info(text, [KEY])
        openvino.save_model(model, tmp_path / "plain" / "model.xml")
        return tmp_path / "plain"

    return write


def test_metadata_comes_back_as_it_was(passport, plain):
    _, found = runtime.open_exported(plain(passport.to_text()))
    assert found == passport


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "was not written by `mask2former export`"),
        ("no JSON", "was not written by `mask2former export`"),
        ('{"format": "mask2former-export/0"}', f"-export/0, and this version reads {FORMAT}"),
        (f'{{"format": "{FORMAT}"}}', "its metadata cannot be read"),
    ],
)
def test_foreign_older_and_cut_files_are_refused(text, sentence, plain):
    with pytest.raises(ValueError, match=sentence):
        mask2former.load(plain(text))


def test_corrupt_files_are_refused(plain, passport):
    path = plain(passport.to_text())
    file = path if path.suffix else path / "model.xml"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"cannot be read by .*; export it again"):
        mask2former.load(path)


def test_absent_file_is_said_to_be_absent(tmp_path):
    with pytest.raises(ValueError, match=r"gone.onnx does not exist"):
        mask2former.load(tmp_path / "gone.onnx")


def test_missing_runtime_is_named(plain, passport, monkeypatch):
    path = plain(passport.to_text())

    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(ValueError, match=r"which is not installed; pip install 'mask2former\[exp"):
        runtime.open_exported(path)


def test_devices_that_a_runtime_has_not_are_refused(plain, passport):
    path = plain(passport.to_text())
    with pytest.raises(ValueError, match="--device cpu"):
        mask2former.load(path, device="cuda")


def test_results_are_not_loaded_as_a_network(plain, passport):
    with pytest.raises(ValueError, match="export the model with --outputs network"):
        mask2former.load(plain(passport._replace(outputs="result").to_text()))


def test_what_needs_pytorchs_modules_refuses_exported_files(plain, passport):
    path = plain(passport.to_text())
    assert is_exported(path)
    with pytest.raises(ValueError, match="is an exported file"):
        load_model(find_model(str(path)))
    with pytest.raises(ValueError, match="leave --compile out"):
        mask2former.load(path).compile()


def test_explain_refuses_exported_files(plain, passport, tmp_path):
    from mask2former.engine.insight import look_inside

    predictor = mask2former.load(plain(passport.to_text()))
    with pytest.raises(ValueError, match="explain takes the model"):
        look_inside(predictor, Shapes(1).image(0))


def test_exported_file_in_a_model_folder_is_itself(tmp_path):
    for name in ("config.json", "model.onnx"):
        (tmp_path / name).touch()
    assert find_model(str(tmp_path / "model.onnx")) == tmp_path / "model.onnx"


def test_padding_is_the_mean_in_the_pictures_own_numbers(passport: Passport) -> None:
    deep = load_config("tiny/shapes", ["model.value_range=[0, 65535]", "data.channels=3"])
    card = ModelCard(deep, passport.card.categories, "a test")
    network = ExportedNetwork(lambda images: (), passport._replace(card=card))
    assert network.mean.flatten().tolist() == pytest.approx(deep.model.pixel_mean)
    assert network.mean.max() > 255
