"""Where to compute, and in which precision."""

from __future__ import annotations

import torch

from mask2former.config import Precision


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; a device that is absent is a ValueError."""
    counts = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        return torch.device(next(kind for kind, count in counts.items() if count))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in counts:
        raise ValueError(f"no device '{name}'; choose auto, cpu, cuda or mps")
    if (device.index or 0) >= counts[device.type]:
        raise ValueError(f"this machine has no {name} device that PyTorch can use; try cpu")
    return device


def check_precision(precision: Precision, device: torch.device) -> str | None:
    """Refuse a precision that does harm on a device; return a warning where it hardly helps."""
    match precision, device.type:
        case "fp16", "cpu":
            reason = "CPUs compute it slowly, and gradients get lost in it"
        case "fp16" | "bf16", "mps":
            reason = "training in half precision is not sound on MPS devices"
        case "bf16", "cuda" if not torch.cuda.is_bf16_supported(including_emulation=False):
            reason = "this GPU has no units for it; fp16 is possible"
        case "bf16", "cpu":
            return "bf16 is slower than fp32 on most CPUs: `mask2former doctor` measures this one"
        case _:
            return None
    raise ValueError(f"train.precision={precision}: {reason}; take train.precision=fp32")
