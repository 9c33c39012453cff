"""Fetch one large file over HTTP: resumed where it broke off, checked, and renamed when whole."""

from __future__ import annotations

import errno
import hashlib
import http.client
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock

CHUNK = 1 << 20
PATIENCE = 30
"""Seconds without a byte until a connection counts as broken."""
ATTEMPTS = 5
"""How often in a row a connection may bring nothing new."""

Show = Callable[[int, int], None]
"""Hears how many bytes are there, of how many."""


class Answer(NamedTuple):
    """An open connection: where in the file its bytes belong, and the size of the whole file."""

    response: http.client.HTTPResponse
    start: int
    total: int


def download(url: str, path: Path, *, md5: str, show: Show = lambda done, total: None) -> Path:
    """Fetch `url` into `path`, unless it is there; `md5` is the beginning of its checksum.

    What has come stays in a file beside until it is whole, also after a fault: the next call goes
    on from there. Raises ValueError that says what to do.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):  # several processes of one run
            if not path.exists():
                part = path.with_name(f"{path.name}.part")
                _fetch(url, part, show)
                _check(part, md5, url)
                part.replace(path)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written ({error.strerror or error}); make room, or name another "
            "folder in MASK2FORMER_MODELS"
        ) from error
    return path


def _fetch(url: str, part: Path, show: Show) -> None:
    """Ask again, from where the file ends, until nothing is missing."""
    failures = 0
    while failures < ATTEMPTS:
        size = part.stat().st_size if part.exists() else 0
        answer = _ask(url, size)
        if answer is None or _receive(answer, part, show):
            return
        failures = 0 if part.stat().st_size > size else failures + 1
    raise ValueError(
        f"{url}: the connection broke {ATTEMPTS} times; the same command goes on where it stopped"
    )


def _ask(url: str, size: int) -> Answer | None:
    """Ask for what follows `size` bytes; None where nothing does."""
    request = Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        response = urlopen(request, timeout=PATIENCE)
    except HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        raise ValueError(f"{url}: the server answers {error.code} ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(
            f"{url}: the server cannot be reached ({reason}); are you online?"
        ) from error
    # A server that knows no ranges sends the whole file again.
    start = size if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
    return Answer(response, start, start + int(response.headers["Content-Length"] or 0))


def _receive(answer: Answer, part: Path, show: Show) -> bool:
    """Write what comes behind what is there; whether the file is whole then."""
    response, start, total = answer
    free = shutil.disk_usage(part.parent).free
    if total - start > free:
        raise OSError(
            errno.ENOSPC, f"{(total - start) >> 20} MB are to come, {free >> 20} are free"
        )
    with response, part.open("r+b" if start else "wb") as file:
        file.seek(start)
        while True:
            try:
                chunk = response.read(CHUNK)
            except (OSError, http.client.HTTPException):
                return False
            if not chunk:
                return file.tell() >= total
            file.write(chunk)
            show(file.tell(), total)


def _check(part: Path, md5: str, url: str) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if not found.startswith(md5):
        part.unlink()
        raise ValueError(
            f"{url}: what came has the md5 {found}, not {md5}...; it was removed: try again"
        )
