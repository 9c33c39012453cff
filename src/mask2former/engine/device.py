"""Where to compute."""

from __future__ import annotations

import torch


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; a device that is absent is a ValueError."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in available:
        raise ValueError(f"no device '{name}'; choose auto, cpu, cuda or mps")
    if not available[device.type]:
        raise ValueError(f"this machine has no {name} device that PyTorch can use; try cpu")
    return device
