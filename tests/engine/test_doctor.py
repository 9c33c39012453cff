"""The doctor finds what is missing, too old, broken or absent, and never falls over it."""

from __future__ import annotations

import builtins
import json
import re
import sys
from collections.abc import Callable
from email.message import Message
from importlib import metadata
from typing import Any

import pytest
import torch

from mask2former import cli
from mask2former.engine import doctor
from mask2former.engine.doctor import Diagnosis, Finding, examine

VERSIONS = {"torch": "2.6.0", "numba": "0.60.0"}
REQUIRED = ["torch>=2.6", "numba>=0.60; extra == 'fast'", "av>=14.2; extra == 'video'"]


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    """Of this very installation."""
    return examine("cpu")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The distributions that are there, by name; the package asks for `REQUIRED`."""
    there = {**VERSIONS, "mask2former": "0.1.0"}

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    extras = Message()
    extras["Provides-Extra"] = "fast"
    extras["Provides-Extra"] = "video"
    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: REQUIRED)
    monkeypatch.setattr(doctor.metadata, "metadata", lambda name: extras)
    return there


def find(findings: list[Finding], subject: str) -> Finding:
    return next(finding for finding in findings if finding.subject == subject)


def test_working_installation_is_told_so(diagnosis: Diagnosis) -> None:
    assert diagnosis.fault is None
    assert find(diagnosis.sections["trial"], "nuclei on cpu").value == "works"
    assert find(diagnosis.sections["packages"], "torch").value == metadata.version("torch")
    assert find(diagnosis.sections["compute"], "device").value == "cpu"
    assert "predict" in diagnosis.next


def test_precisions_are_measured_where_training_takes_them(diagnosis: Diagnosis) -> None:
    trial = diagnosis.sections["trial"]
    assert re.fullmatch(r"\d+\.\d x fp32 in training", str(find(trial, "bf16").value))
    assert find(trial, "fp16")[:2] == ("fp16", None)
    assert "CPUs compute it slowly" in find(trial, "fp16").note


def test_json_holds_every_finding(diagnosis: Diagnosis) -> None:
    document = json.loads(json.dumps(diagnosis.to_json()))
    assert document["works"] is True
    for name, findings in diagnosis.sections.items():
        assert list(document[name]) == [finding.subject for finding in findings]


def test_folders_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "absent" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folders = doctor.look_at_folders("cpu")
    cache = find(folders, "Hub cache")
    assert cache.value == str(tmp_path / "absent" / "hub")
    assert cache.note.endswith("GB free")
    assert "offline" in str(find(folders, "Hub").value)


def test_missing_package_is_the_fault(installed: dict[str, str]) -> None:
    del installed["torch"]
    torch_ = find(doctor.look_at_packages("cpu"), "torch")
    assert torch_ == ("torch", None, "not installed; pip install 'torch>=2.6'", True)


def test_old_package_is_a_fault(installed: dict[str, str]) -> None:
    installed["torch"] = "2.5.1+cpu"
    torch_ = find(doctor.look_at_packages("cpu"), "torch")
    assert torch_.fault
    assert torch_.note == ">=2.6 is needed; pip install 'torch>=2.6'"


def test_local_and_development_versions_fit(installed: dict[str, str]) -> None:
    installed["torch"] = "2.7.0.dev20250101+cu126"
    assert not find(doctor.look_at_packages("cpu"), "torch").fault


@pytest.mark.usefixtures("installed")
def test_missing_extra_comes_with_its_command_and_is_no_fault() -> None:
    fast, video = doctor.look_at_extras("cpu")
    assert fast == ("fast", "ready", "", False)
    assert video.value == "incomplete"
    assert video.note == "av is missing; pip install 'mask2former[video]'"
    assert not video.fault


def test_source_tree_that_is_not_installed_is_said(installed: dict[str, str]) -> None:
    del installed["mask2former"]
    assert find(doctor.look_at_packages("cpu"), "mask2former").note == "imported, not installed"
    assert doctor.look_at_extras("cpu") == []


def test_broken_import_is_reported_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = builtins.__import__

    def broken(name: str, *rest: Any) -> Any:
        if name.startswith("huggingface_hub") or name == "mask2former.engine.predict":
            raise OSError("libsomething.so.1: cannot open shared object file")
        return genuine(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    found = examine("cpu")
    assert found.fault == "folders: libsomething.so.1: cannot open shared object file"
    assert find(found.sections["compute"], "device").value == "cpu"
    assert found.next.startswith("mend this")


def test_missing_numba_slows_but_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from mask2former.model import kernels

    monkeypatch.delattr(kernels, "sampling_kernel", raising=False)
    monkeypatch.setitem(sys.modules, "mask2former.model.kernels.sampling_kernel", None)
    kernel = find(doctor.look_at_compute("cpu"), "sampling kernel")
    assert kernel.value == "grid_sample"
    assert kernel.note.startswith("no compiled kernel: ")
    found = Diagnosis({"compute": [kernel]})
    assert found.fault is None
    assert "pip install 'mask2former[fast]'" in found.next


def test_cuda_that_warns_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> bool:
        import warnings

        warnings.warn("The NVIDIA driver on your system is too old", UserWarning, stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    assert "driver on your system is too old" in find(doctor.look_at_devices("cpu"), "cuda").note


Answer = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Answer:
    """`mask2former doctor ...` with quick looks: exit status, stdout, stderr."""
    looks = {"compute": doctor.LOOKS["compute"]}
    monkeypatch.setattr(doctor, "LOOKS", looks)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mask2former", "doctor", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), *capsys.readouterr()

    return run


def test_command_ends_with_what_is_next(ask: Answer) -> None:
    status, out, err = ask("--device", "cpu")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("next: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_command_fails_with_one_sentence(ask: Answer) -> None:
    status, out, err = ask("--device", "cuda")
    assert status == 2
    assert err.count("\n") == 1
    assert "no cuda device" in err
    assert "next: mend this" in out


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_command_answers_programs_in_json(ask: Answer) -> None:
    assert json.loads(ask("--json", "--device", "cpu")[1])["works"] is True
    status, out, _ = ask("--json", "--device", "cuda")
    assert status == 2
    assert json.loads(out)["works"] is False
