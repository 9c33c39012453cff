"""A download goes on where it broke off, is checked, and says in one sentence what went wrong."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from mask2former.published import download as downloads
from mask2former.published.download import download

CONTENT = bytes(range(256)) * 6000  # 1.5 MB
MD5 = hashlib.md5(CONTENT).hexdigest()[:6]


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `breaks` says after how many bytes the next answers end."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks: list[int] = []
        self.knows_ranges = True
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model_final_{MD5}.pkl"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        span = self.headers["Range"]
        self.server.asked.append(span)
        if self.path.startswith("/gone"):
            self.send_error(404)
            return
        start = 0
        if span and self.server.knows_ranges:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        length = self.server.breaks.pop(0) if self.server.breaks else len(CONTENT)
        self.wfile.write(CONTENT[start : start + length])

    def log_message(self, *_: object) -> None:
        pass


class Place(NamedTuple):
    server: Server
    path: Path

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Place(server, tmp_path / "models" / "model.pkl")
        server.shutdown()
        thread.join()


def test_file_arrives_whole_and_is_not_fetched_again(place: Place) -> None:
    shown: list[tuple[int, int]] = []
    for _ in range(2):
        path = download(place.server.url, place.path, md5=MD5, show=lambda *p: shown.append(p))
        assert path.read_bytes() == CONTENT
    assert place.server.asked == [None]
    assert shown[-1] == (len(CONTENT), len(CONTENT))
    assert not place.part.exists()


def test_broken_connection_goes_on_where_it_stopped(place: Place) -> None:
    place.server.breaks = [1000, 500_000]
    download(place.server.url, place.path, md5=MD5)
    assert place.path.read_bytes() == CONTENT
    assert place.server.asked == [None, "bytes=1000-", "bytes=501000-"]


def test_next_call_goes_on_with_what_is_there(place: Place) -> None:
    place.server.breaks = [300_000, *[0] * downloads.ATTEMPTS]
    with pytest.raises(ValueError, match="the same command goes on where it stopped"):
        download(place.server.url, place.path, md5=MD5)
    assert place.part.stat().st_size == 300_000
    assert not place.path.exists()
    download(place.server.url, place.path, md5=MD5)
    assert place.path.read_bytes() == CONTENT
    assert place.server.asked[-1] == "bytes=300000-"


def test_server_without_ranges_sends_all_again(place: Place) -> None:
    place.server.knows_ranges = False
    place.server.breaks = [300_000]
    download(place.server.url, place.path, md5=MD5)
    assert place.path.read_bytes() == CONTENT


def test_part_that_is_whole_is_taken(place: Place) -> None:
    place.part.parent.mkdir()
    place.part.write_bytes(CONTENT)
    download(place.server.url, place.path, md5=MD5)
    assert place.path.read_bytes() == CONTENT


@pytest.mark.parametrize("found", [b"old", CONTENT + b"more"])
def test_wrong_content_is_removed_and_told(found: bytes, place: Place) -> None:
    place.part.parent.mkdir()
    place.part.write_bytes(found)
    with pytest.raises(ValueError, match=rf"has the md5 \w+, not {MD5}.*removed: try again"):
        download(place.server.url, place.path, md5=MD5)
    assert not place.part.exists()
    assert not place.path.exists()
    download(place.server.url, place.path, md5=MD5)
    assert place.path.read_bytes() == CONTENT


def test_missing_file_is_told(place: Place) -> None:
    url = place.server.url.replace("model_final", "gone")
    with pytest.raises(ValueError, match=r"the server answers 404"):
        download(url, place.path, md5=MD5)


def test_offline_is_told(place: Place) -> None:
    with pytest.raises(ValueError, match=r"cannot be reached.*are you online"):
        download("http://127.0.0.1:9/model.pkl", place.path, md5=MD5)


def test_full_disk_is_told_before_anything_is_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(place.path.parent.parent)._replace(free=1 << 20)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: full)
    monkeypatch.setattr(f"{__name__}.CONTENT", CONTENT * 3)
    with pytest.raises(ValueError, match=r"4 MB are to come, 1 are free.*MASK2FORMER_MODELS"):
        download(place.server.url, place.path, md5=MD5)
    assert not place.part.exists()


def test_folder_that_cannot_be_made_is_told(place: Place) -> None:
    place.path.parent.write_bytes(b"a file in its place")
    with pytest.raises(ValueError, match=r"cannot be written.*MASK2FORMER_MODELS"):
        download(place.server.url, place.path, md5=MD5)


def test_processes_of_one_run_fetch_once(place: Place) -> None:
    calls = [
        threading.Thread(target=download, args=(place.server.url, place.path), kwargs={"md5": MD5})
        for _ in range(3)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert place.path.read_bytes() == CONTENT
    assert place.server.asked == [None]
