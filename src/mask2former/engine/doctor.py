"""What this installation can do, and whether it works: packages, devices, folders, a trial."""

from __future__ import annotations

import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from packaging.requirements import Requirement

from mask2former import __version__
from mask2former.machine import usable_cores

if TYPE_CHECKING:  # a doctor starts where everything else is broken
    import torch
    from rich.table import Table
    from torch import nn

    from mask2former.config import Precision

WORTH = 1.2  # times the speed of fp32, below which another precision is not


class Finding(NamedTuple):
    """One thing looked at. With `fault` the package cannot work, and `note` says why."""

    subject: str
    value: str | int | None
    note: str = ""
    fault: bool = False


class Diagnosis(NamedTuple):
    """All findings, by section."""

    sections: dict[str, list[Finding]]

    @property
    def fault(self) -> str | None:
        """The first thing that keeps the package from working, as a sentence."""
        findings = (finding for section in self.sections.values() for finding in section)
        return next((f"{f.subject}: {f.note}" for f in findings if f.fault), None)

    @property
    def next(self) -> str:
        """What to do now."""
        if self.fault is not None:
            return f"mend this, and ask again: {self.fault}"
        slow = any(f.value == "grid_sample" and f.note for f in self.sections["compute"])
        faster = (
            "; `pip install 'mask2former[fast]'` makes it several times quicker" if slow else ""
        )
        return f"`mask2former predict PICTURES --model nuclei`{faster}"

    def to_json(self) -> dict[str, Any]:
        """Section -> subject -> what was found, beside the verdict."""
        sections = {
            name: {f.subject: {"value": f.value, "note": f.note} for f in findings}
            for name, findings in self.sections.items()
        }
        return {"works": self.fault is None, "fault": self.fault, "next": self.next, **sections}

    def to_table(self) -> Table:
        """For a terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table("", "", "", box=None, show_header=False, pad_edge=False)
        for name, findings in self.sections.items():
            table.add_row(Text(name, "bold"))
            for finding in findings:
                value = "none" if finding.value is None else str(finding.value)
                style = "red" if finding.fault else ""
                table.add_row(f"  {finding.subject}", Text(value, style), Text(finding.note, "dim"))
        return table


def examine(device: str = "auto") -> Diagnosis:
    """Look at everything; what is broken is reported, whatever it raises."""
    sections = {}
    for name, look in LOOKS.items():
        try:
            sections[name] = look(device)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            sections[name] = [Finding(name, "broken", reason, fault=True)]
    return Diagnosis(sections)


def look_at_packages(device: str) -> list[Finding]:
    """What must be installed, and in which versions."""
    found = [
        Finding("python", platform.python_version()),
        Finding("mask2former", __version__, "" if _is_installed() else "imported, not installed"),
    ]
    for requirement in _requirements(""):
        version, fault = _check(requirement)
        found.append(Finding(requirement.name, version, fault, fault=bool(fault)))
    return found


def look_at_extras(device: str) -> list[Finding]:
    """What may be installed."""
    extras = metadata.metadata("mask2former").get_all("Provides-Extra") if _is_installed() else None
    found = []
    for extra in extras or ():
        absent = [
            f"{r.name} {version or 'is missing'}"
            for r in _requirements(extra)
            for version, fault in [_check(r)]
            if fault
        ]
        note = f"{', '.join(absent)}; pip install 'mask2former[{extra}]'" if absent else ""
        found.append(Finding(extra, "incomplete" if absent else "ready", note))
    return found


def _is_installed() -> bool:
    try:
        return bool(metadata.version("mask2former"))
    except metadata.PackageNotFoundError:
        return False


def _requirements(extra: str) -> list[Requirement]:
    """What the package asks for; with an extra, what that adds."""
    lines = metadata.requires("mask2former") if _is_installed() else None
    asked = [Requirement(line) for line in lines or ()]
    if not extra:
        return [r for r in asked if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [r for r in asked if r.marker is not None and r.marker.evaluate({"extra": extra})]


def _check(requirement: Requirement) -> tuple[str | None, str]:
    """The version that is there, and what is wrong with it."""
    mend = f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None, f"not installed; {mend}"
    fits = requirement.specifier.contains(version, prereleases=True)
    return version, "" if fits else f"{requirement.specifier} is needed; {mend}"


def look_at_devices(device: str) -> list[Finding]:
    """The processors that PyTorch can use."""
    import torch

    found = [
        Finding("cpu", platform.machine(), torch.backends.cpu.get_cpu_capability()),
        Finding("cpu cores", os.cpu_count(), f"{usable_cores()} of them for this process"),
        Finding("cpu threads", torch.get_num_threads()),
    ]
    with warnings.catch_warnings(record=True) as said:  # an unfit driver is a warning
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        card = torch.cuda.get_device_properties(index)
        note = f"{card.total_memory / 2**30:.0f} GiB, capability {card.major}.{card.minor}"
        found.append(Finding(f"cuda:{index}", card.name, note))
    if not count:
        built = torch.version.cuda
        why = f"PyTorch is built for CUDA {built}" if built else "PyTorch is built without CUDA"
        reason = "; ".join([why, *(str(one.message).partition("\n")[0] for one in said)])
        found.append(Finding("cuda", None, reason))
    there = torch.backends.mps.is_available()
    return [*found, Finding("mps", "Apple GPU" if there else None)]


def look_at_compute(device: str) -> list[Finding]:
    """Where and how the network will run."""
    from mask2former.engine.device import choose_device

    chosen = choose_device(device)
    return [Finding("device", str(chosen)), _sampling(chosen)]


def _sampling(device: torch.device) -> Finding:
    """The kernel of deformable attention."""
    if device.type != "cpu":
        return Finding("sampling kernel", "grid_sample")
    try:
        from mask2former.model.kernels import sampling_kernel  # noqa: F401 - is it there?
    except ImportError as error:
        return Finding("sampling kernel", "grid_sample", f"no compiled kernel: {error}")
    return Finding("sampling kernel", f"numba {metadata.version('numba')}")


def look_at_folders(device: str) -> list[Finding]:
    """Where models come from and are kept."""
    import torch
    from huggingface_hub import constants

    from mask2former.zoo import bundled_models

    bundled = [Finding(f"bundled {name}", str(folder)) for name, folder in bundled_models().items()]
    offline = "offline, as HF_HUB_OFFLINE says" if constants.HF_HUB_OFFLINE else "asked when needed"
    return [
        *bundled,
        Finding("Hub", offline),
        Finding("Hub cache", constants.HF_HUB_CACHE, _free(Path(constants.HF_HUB_CACHE))),
        Finding("torch cache", torch.hub.get_dir(), _free(Path(torch.hub.get_dir()))),
    ]


def _free(folder: Path) -> str:
    """How much fits there, though the folder may not exist yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return f"{shutil.disk_usage(there).free / 1e9:.0f} GB free"


def try_out(device: str) -> list[Finding]:
    """The proof: a bundled model segments a bundled picture."""
    from mask2former.engine.predict import load
    from mask2former.zoo import bundled_models

    model = next(iter(bundled_models()))
    demo = Path(str(resources.files("mask2former"))) / "demo" / "cells"
    picture = min(demo.glob("*.png"))
    start = time.perf_counter()
    predictor = load(model, device)
    loaded = time.perf_counter()
    predictor(picture)
    took = f"loaded in {loaded - start:.1f} s, first picture {time.perf_counter() - loaded:.1f} s"
    works = Finding(f"{model} on {predictor.device}", "works", took)
    return [works, *_compare_precisions(predictor.model, predictor.device)]


def _compare_precisions(network: nn.Module, device: torch.device) -> list[Finding]:
    """How much quicker half precisions train: measured, as no name of a processor tells it."""
    import torch

    from mask2former.engine.device import check_precision

    halves: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
    found = []
    for name, dtype in halves.items():
        try:
            check_precision(name, device)
        except ValueError as refusal:
            found.append(Finding(name, None, str(refusal)))
            continue
        rounds = [[_time_step(network, device, d) for d in (torch.float32, dtype)] for _ in "123"]
        full, half = map(min, zip(*rounds, strict=True))
        gain = round(full / half, 1)
        note = "" if gain >= WORTH else "not worth it here; keep train.precision=fp32"
        found.append(Finding(name, f"{gain} x fp32 in training", note))
    return found


def _time_step(network: nn.Module, device: torch.device, dtype: torch.dtype) -> float:
    """Seconds of a forward and backward pass; of a CPU one thread's, as others may be busy."""
    import torch

    clock, side = time.perf_counter, 1024
    if device.type == "cpu":
        clock, side = time.process_time, 256
    pictures = torch.zeros(1, 3, side, side, device=device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = clock()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        prediction = network(pictures)[-1]
    loss = prediction.class_logits.float().sum() + prediction.mask_logits().float().sum()
    loss.backward()
    loss.item()  # a copy: all is done
    seconds = clock() - start
    torch.set_num_threads(threads)
    return seconds


LOOKS: dict[str, Callable[[str], list[Finding]]] = {
    "packages": look_at_packages,
    "extras": look_at_extras,
    "devices": look_at_devices,
    "compute": look_at_compute,
    "folders": look_at_folders,
    "trial": try_out,
}
