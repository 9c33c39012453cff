"""A device is chosen by name, and an absent one is said in one sentence."""

import pytest
import torch

from mask2former.engine.device import choose_device


@pytest.fixture
def only_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("only_cpu")
def test_auto_falls_back_to_the_cpu() -> None:
    assert choose_device() == choose_device("cpu") == torch.device("cpu")


def test_auto_prefers_cuda_to_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="no cuda:2 device"):
        choose_device("cuda:2")


@pytest.mark.usefixtures("only_cpu")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_absent_device_is_said(name: str) -> None:
    with pytest.raises(ValueError, match=r"this machine has no .* try cpu"):
        choose_device(name)


@pytest.mark.parametrize("name", ["tpu", "", "cpu:x", "meta"])
def test_unknown_device_lists_the_choice(name: str) -> None:
    with pytest.raises(ValueError, match="choose auto, cpu, cuda or mps"):
        choose_device(name)
