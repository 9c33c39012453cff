"""Graphs as files of OpenVINO's and of ONNX, with all that is to be known of the model inside."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from torch.export import ExportedProgram

from mask2former.faults import last_line
from mask2former.runtime import KEY, OPENVINO_FILE, Passport
from mask2former.writing import demand_writable, make_folder

NEEDED = {"openvino": ("openvino",), "onnx": ("onnx", "onnxscript", "onnxruntime")}
OPSET = 18
WEIGHTS_FILE = "model.bin"


def demand_libraries(form: str, *others: str) -> None:
    """Raise ValueError where a library that writes or runs a format is not installed."""
    missing = [n for n in (*NEEDED[form], *others) if importlib.util.find_spec(n) is None]
    if missing:
        raise ValueError(
            f"to export to {form}, {' and '.join(missing)} must be installed; "
            "pip install 'mask2former[export]'"
        )


def default_path(form: str) -> Path:
    """Where a file goes that nobody named."""
    return Path("model.onnx" if form == "onnx" else "model_openvino")


def demand_place(path: Path, form: str) -> None:
    """Refuse a name that is not of the format, that something else has, or that cannot be written.

    A file, or the two of a folder, that was exported before is replaced once the new one is proved.
    """
    if form == "onnx" and path.suffix != ".onnx":
        raise ValueError(f"--output {path}: the name of an ONNX file ends in .onnx")
    if form == "openvino" and path.suffix in {".onnx", ".xml", ".bin"}:
        raise ValueError(f"--output {path}: OpenVINO's two files go to a folder; name one")
    mine = path.is_file() if form == "onnx" else (path / OPENVINO_FILE).is_file()
    if path.exists() and not mine:
        raise ValueError(f"--output {path}: there is something else; name a new place")
    _remove(_beside(path))  # of a process that was killed
    demand_writable(_beside(path))


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A place beside `path` for what takes its place in the end, if all goes well."""
    beside = _beside(path)
    _remove(beside)
    try:
        yield beside
        if path.is_dir():
            for name in (WEIGHTS_FILE, OPENVINO_FILE):
                (beside / name).replace(path / name)
        else:
            beside.replace(path)
    finally:
        _remove(beside)


def _beside(path: Path) -> Path:
    target = path.resolve()
    return target.with_name(f".{target.stem[:40]}.part{target.suffix}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def to_openvino(program: ExportedProgram, names: Sequence[str], passport: Passport) -> Any:
    """OpenVINO's form of a graph."""
    import openvino

    with quiet():
        model = openvino.convert_model(program)
    for output, name in zip(model.outputs, names, strict=True):
        output.tensor.set_names({name})
    model.inputs[0].tensor.set_names({"images"})
    for node in model.get_ops():
        # The default reads the first pixel where one pixel comes out; PyTorch reads the middle.
        if node.get_type_name() == "Interpolate":
            node.set_attribute("coordinate_transformation_mode", "half_pixel")
    model.set_rt_info(passport.to_text(), [KEY])
    return model


def save_openvino(model: Any, folder: Path, precision: str) -> None:
    """Write `model.xml` and `model.bin`, or raise an OSError that names the folder."""
    import openvino

    make_folder(folder)
    try:
        openvino.save_model(model, folder / OPENVINO_FILE, compress_to_fp16=precision != "fp32")
    except RuntimeError as error:
        raise OSError(f"{folder}: cannot be written ({last_line(error)})") from error


def to_onnx(program: ExportedProgram, names: Sequence[str], passport: Passport) -> Any:
    """ONNX's form of a graph."""
    with quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=list(names),
            opset_version=OPSET,
            verbose=False,
        )
    assert made is not None
    made.model.metadata_props[KEY] = passport.to_text()
    return made


def save_onnx(made: Any, path: Path) -> None:
    """Write one `.onnx` file."""
    make_folder(path.parent)
    made.save(path, external_data=False)


@contextmanager
def quiet() -> Generator[None]:
    """Without what tracers and converters say on the way, and a cache that costs them more time."""
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(StringIO()),
            torch._dynamo.config.patch(fake_tensor_cache_enabled=False),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
