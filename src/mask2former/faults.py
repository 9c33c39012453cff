"""What a person reads when something goes wrong: one sentence, with the file it is about."""

from __future__ import annotations

from pathlib import Path

NO_MEMORY = (
    "can't allocate memory",  # PyTorch's allocators: of a CPU, on Windows, of Apple's GPUs
    "not enough memory: you tried",
    "MPS backend out of memory",
)


def excerpt(value: object, length: int = 60) -> str:
    """A value as a sentence quotes it, cut where it is long."""
    return shorten(repr(value), length)


def shorten(text: str, length: int = 60) -> str:
    """A text, cut where it is long."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def naming(file: str | Path, sentence: str) -> str:
    """A sentence with the file before it, unless that is named there."""
    return sentence if str(file) in sentence else f"{file}: {sentence}"


def last_line(error: BaseException) -> str:
    """What an error of a library comes to, cut where it is long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(lines[-1] if lines else type(error).__name__, 150)


def explain(error: BaseException) -> str | None:
    """The sentence for a fault that a person can mend; None for a bug, whose traceback helps."""
    if is_out_of_memory(error):
        return (
            "the memory is full; to predict, lower test.short_edge or use --device cpu; to train, "
            "lower train.batch_size or the size in data.augmentation, or raise train.accumulation"
        )
    match error:
        case OSError(filename=str() | bytes() | Path() as file, strerror=str() as reason):
            return f"{file!s}: {reason[:1].lower()}{reason[1:]}"
        case ValueError() | OSError():
            return str(error)
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        return f"PyTorch's compiler failed ({shorten(reason, 200)}); leave --compile out"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy, or PyTorch on any device found no memory."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, without importing torch
        or (isinstance(error, RuntimeError) and any(said in str(error) for said in NO_MEMORY))
    )
