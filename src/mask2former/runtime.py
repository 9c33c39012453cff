"""Run an exported file, by ONNX Runtime or OpenVINO, behind the same call as the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mask2former.card import ModelCard, card_from_json, card_to_json
from mask2former.faults import last_line, shorten
from mask2former.files import to_json
from mask2former.structures import Prediction

FORMAT = "mask2former-export/1"
KEY = "mask2former"
"""Under which a file's metadata says what it is."""
OPENVINO_FILE = "model.xml"
PARTS = Prediction._fields
"""The outputs of a graph that is the network alone."""

Run = Callable[[np.ndarray], Sequence[np.ndarray]]
"""Pictures (B, 3, H, W) or clips (B, T, 3, H, W) in float32 -> the graph's outputs, in turn."""


class Passport(NamedTuple):
    """What an exported file says of itself."""

    card: ModelCard
    outputs: str  # "network", or "result" with post-processing in the graph
    precision: str
    size: tuple[int, int] | None  # height and width; None: any multiples of 32
    frames: int | None  # of a clip; None: it takes pictures
    version: str  # of the package that wrote it

    def to_text(self) -> str:
        """JSON, as it is stored in a file's metadata."""
        about = {name: value for name, value in self._asdict().items() if name != "card"}
        document = {"format": FORMAT, **about}
        return to_json({**document, "card": card_to_json(self.card)}, indent=None)

    @classmethod
    def of_text(cls, text: str | None, path: Path) -> Passport:
        """Read it again; ValueError where a file was not written by this version's `export`."""
        try:
            document = json.loads(text or "null")
        except ValueError:
            document = None
        if not isinstance(document, dict) or "format" not in document:
            raise ValueError(
                f"{path} was not written by `mask2former export`, and does not say what its "
                "classes and outputs are; export the model it was made from"
            )
        if document["format"] != FORMAT:
            raise ValueError(
                f"{path} is of the format {shorten(str(document['format']))}, and this version "
                f"reads {FORMAT}; export the model again"
            )
        try:
            size = document["size"] and tuple(map(int, document["size"]))
            card = card_from_json(document["card"], str(path))
            others = {name: document[name] for name in cls._fields if name not in {"card", "size"}}
            return cls(card=card, size=size, **others)
        except (KeyError, TypeError, ValueError) as error:
            reason = shorten(str(error), 150)
            raise ValueError(
                f"{path}: its metadata cannot be read ({reason}); export it again"
            ) from None


class ExportedNetwork:
    """A network in a file: called as `Mask2Former`, it gives the last prediction alone."""

    def __init__(self, run: Run, passport: Passport) -> None:
        self.run = run
        self.passport = passport
        self.mean = torch.tensor(passport.card.config.model.pixel_mean).view(-1, 1, 1)

    @property
    def size(self) -> tuple[int, int] | None:
        """The one height and width that it takes; None: it takes all."""
        return self.passport.size

    def __call__(self, images: Tensor) -> list[Prediction]:
        """images (B, 3, H, W) or clips (B, T, 3, H, W), RGB 0..255, H and W multiples of 32."""
        frames = self.passport.frames
        if frames is not None:
            images = images if images.ndim == 5 else images.unsqueeze(1)
            if images.shape[1] != frames:
                raise ValueError(
                    f"the exported model takes clips of {frames} frames, not of {images.shape[1]}; "
                    f"cut the clip, or export with --frames {images.shape[1]}"
                )
        # A graph of a fixed size takes one at a time.
        pieces = images.split(images.shape[0] if self.size is None else 1)
        outputs = [self.run(piece.contiguous().numpy()) for piece in pieces]
        joined = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*outputs, strict=True))
        return [Prediction(*joined)]


def is_exported(path: Path) -> bool:
    """Whether a path names an exported file, whatever is in it."""
    return path.suffix in {".onnx", ".xml"} or (path / OPENVINO_FILE).is_file()


def load_exported(path: Path, device: str = "cpu") -> ExportedNetwork:
    """Read an exported file: `.onnx`, a folder with `model.xml`, or that file.

    Raises ValueError with the file and the mend where it cannot be read, is none of ours, or its
    runtime is not installed.
    """
    run, passport = open_exported(path, device)
    if passport.outputs != "network":
        raise ValueError(
            f"{path} holds results, not the network's own outputs, for programs without this "
            "package; export the model with --outputs network to load it here"
        )
    return ExportedNetwork(run, passport)


def open_exported(path: Path, device: str = "cpu") -> tuple[Run, Passport]:
    """What runs a file of any outputs, and what it says of itself."""
    if path.suffix == ".onnx":
        return _open_onnx(path, device)
    return _open_openvino(path if path.suffix == ".xml" else path / OPENVINO_FILE, device)


def _open_onnx(path: Path, device: str) -> tuple[Run, Passport]:
    onnxruntime = _import("onnxruntime", "ONNX Runtime", path)
    providers = ["CPUExecutionProvider"]
    if device not in ("auto", "cpu"):
        wanted = f"{device.partition(':')[0].upper()}ExecutionProvider"
        if wanted not in onnxruntime.get_available_providers():
            more = ", or pip install onnxruntime-gpu" if device.startswith("cuda") else ""
            raise ValueError(
                f"the ONNX Runtime that is installed has no {device} device; take --device cpu"
                f"{more}"
            )
        providers.insert(0, wanted)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its own, of several kinds
        raise _unreadable(path, "ONNX Runtime", error) from None
    stored = session.get_modelmeta().custom_metadata_map
    passport = Passport.of_text(stored.get(KEY), path)
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images}), passport


def _open_openvino(path: Path, device: str) -> tuple[Run, Passport]:
    openvino = _import("openvino", "OpenVINO", path)
    if device not in ("auto", "cpu"):
        raise ValueError(
            f"exported OpenVINO models run on the CPU here, not on {device}; take --device cpu"
        )
    core = openvino.Core()
    try:
        model = core.read_model(path)
        stored = model.get_rt_info([KEY]).value if model.has_rt_info([KEY]) else None
    except Exception as error:
        raise _unreadable(path, "OpenVINO", error) from None
    passport = Passport.of_text(stored, path)
    return compile_openvino(model), passport


def compile_openvino(model: Any) -> Run:
    """What runs an OpenVINO model in fp32 (or int8) on as many threads as PyTorch uses."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def run(images: np.ndarray) -> list[np.ndarray]:
        found = compiled(images)
        return [np.array(found[output]) for output in compiled.outputs]

    return run


def _import(module: str, name: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise ValueError(
            f"{path} needs {name}, which is not installed; pip install 'mask2former[export]'"
        ) from None


def _unreadable(path: Path, name: str, error: Exception) -> ValueError:
    if not path.exists():
        return ValueError(f"{path} does not exist; name a file that `mask2former export` wrote")
    return ValueError(f"{path} cannot be read by {name} ({last_line(error)}); export it again")
