"""The picture that a request brings: received in pieces, bounded, and read as `predict` does."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile, TemporaryDirectory
from typing import IO, NamedTuple

import numpy as np
from fastapi import HTTPException, Request
from PIL import UnidentifiedImageError
from starlette.types import Message, Receive

from mask2former.engine.predict import Predictor
from mask2former.faults import shorten
from mask2former.files import TIFF_HEADS, TooLargeError, read_stored_size

IN_MEMORY = 2**20
"""Bytes of a picture that waits; a longer one waits on the disk."""
PATIENCE = 60.0
"""Seconds in which a picture has to arrive."""
UNNAMED = "picture"
ARRAY_HEAD = b"\x93NUMPY"
"""What `.npy` files begin with."""


class Upload(NamedTuple):
    """A picture's file as it came."""

    file: IO[bytes]
    name: str


@asynccontextmanager
async def received(request: Request, max_pixels: int) -> AsyncGenerator[Upload]:
    """The file of a form (multipart/form-data), or else the whole body."""
    most = most_bytes(max_pixels)
    if int(request.headers.get("content-length", 0)) > most:
        raise too_long(most)
    bounded = Request(request.scope, bound(request.receive, most))
    with SpooledTemporaryFile(IN_MEMORY) as file:
        try:
            async with in_time():
                upload = await arrive(bounded, file)
            yield upload
        finally:
            await bounded.close()  # the files of a form


@asynccontextmanager
async def in_time() -> AsyncGenerator[None]:
    """Slow senders must not keep others from a place for long."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError:
        sentence = f"the picture did not arrive within {PATIENCE:.0f} seconds"
        raise HTTPException(408, sentence) from None


async def arrive(request: Request, file: IO[bytes]) -> Upload:
    """Read a request to its end: a form into files of its own, a bare body into `file`."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        form = await request.form(max_files=1)
        for part in form.values():
            if not isinstance(part, str):
                return Upload(part.file, shorten(part.filename or UNNAMED))
        raise HTTPException(400, "the form holds no file; send one: curl -F picture=@PICTURE")
    async for piece in request.stream():
        file.write(piece)
    return Upload(file, UNNAMED)


def most_bytes(max_pixels: int) -> int:
    """The longest body: a picture of 8-bit RGBA that is not compressed, and room for its heads."""
    return 4 * max_pixels + 2**20


def bound(receive: Receive, most: int) -> Receive:
    """Receive the pieces of a body until they are too many bytes, which no header need tell."""
    arrived = 0

    async def receive_piece() -> Message:
        nonlocal arrived
        message = await receive()
        arrived += len(message.get("body", b""))
        if arrived > most:
            raise too_long(most)
        return message

    return receive_piece


def too_long(most: int) -> HTTPException:
    """The answer to a body of too many bytes."""
    return HTTPException(413, f"the picture has more than {most / 1e6:.0f} MB; send a smaller one")


def read_picture(upload: Upload, predictor: Predictor, max_pixels: int) -> np.ndarray:
    """The pixels of a file, as `predict` reads them from a folder; HTTPException if it cannot."""
    upload.file.seek(0)
    head = upload.file.read(len(ARRAY_HEAD))
    if not head:
        raise HTTPException(400, f"{upload.name}: is empty; send a picture")
    with TemporaryDirectory(prefix="mask2former_") as folder:
        path = (Path(folder) / "picture").with_suffix(suffix_of(head))
        with path.open("wb") as file:
            upload.file.seek(0)
            shutil.copyfileobj(upload.file, file)
        try:
            if predictor.channels is None:  # before its pixels take memory
                demand_size(read_stored_size(path), upload.name, max_pixels)
            pixels = predictor.read(path)
        except ValueError as error:
            sentence = str(error).replace(str(path), upload.name)
            raise HTTPException(status_of(error), sentence) from error
    demand_size(pixels.shape[:2], upload.name, max_pixels)
    return pixels


def suffix_of(head: bytes) -> str:
    """The ending that readers of many channels look at, by what a file begins with."""
    if head.startswith(ARRAY_HEAD):
        return ".npy"
    return ".tif" if head.startswith(TIFF_HEADS) else ""


def demand_size(size: tuple[int, ...], name: str, max_pixels: int) -> None:
    """Refuse a picture (height, width) of too many pixels."""
    height, width = size
    if height * width > max_pixels:
        raise HTTPException(
            413,
            f"{name}: {width} x {height} pixels are more than the {max_pixels / 1e6:g} million "
            "that are taken; send a smaller picture",
        )


def status_of(error: ValueError) -> int:
    """The status of a fault that was met while a picture was read."""
    match error.__cause__:
        case UnidentifiedImageError():
            return 415
        case TooLargeError():
            return 413
    return 400
