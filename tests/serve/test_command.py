"""`mask2former serve`: one sentence for faults, and a server that begins and ends well."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from mask2former import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """Gives a command's exit status and what it printed."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mask2former", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gone"], "no model 'gone'"),
        (["MODEL", "--task", "depth"], "no task 'depth'; choose semantic, instance"),
        (["MODEL", "--device", "tpu"], "no device 'tpu'"),
        (["MODEL", "model.dim=8"], "'model.dim=8': only test.* can be set to serve a model"),
        (["MODEL", "pictures"], "'pictures': only test.* can be set to serve a model"),
        (["MODEL", "test.task=semantic"], "'test.task=semantic': say it with --task"),
        (["MODEL", "test.short_egde=9"], "did you mean 'short_edge'?"),
        (["MODEL", "--host", "300.1.2.3"], "cannot listen on 300.1.2.3, port 0"),
    ],
)
def test_fault_is_one_sentence(words: list[str], sentence: str, run: Run, folder: Path) -> None:
    status, _, err = run("serve", *(folder if w == "MODEL" else w for w in words), "--port", "0")
    assert status == 2
    assert sentence in err
    assert err.startswith("mask2former: ")
    assert err.count("\n") == 1


def test_port_that_is_taken_is_one_sentence(run: Run, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, _, err = run("serve", folder, "--port", str(port))
    assert status == 2
    assert f"cannot listen on 127.0.0.1, port {port} (Address already in use)" in err


def test_missing_extra_is_one_sentence(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = run("serve", folder)
    assert status == 2
    assert err == (
        "mask2former: to serve, fastapi and uvicorn and python_multipart must be installed; "
        'pip install "mask2former[serve]"\n'
    )


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=["told to end", "Ctrl-C"])
def test_server_says_where_it_is_answers_and_ends(
    end: signal.Signals, folder: Path, picture: Path
) -> None:
    command = [sys.executable, "-W", "error", "-m", "mask2former", "serve", folder, "--port", "0"]
    server = subprocess.Popen(
        [*command, "test.max_size=64", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with server:
        assert server.stdout is not None
        said = [server.stdout.readline() for _ in range(6)]
        assert said[0] == "serving tiny (instance) on cpu\n", server.communicate()
        assert said[2] == "model licence: none, it is a test\n"
        (address,) = re.findall(r"listening on (http://127\.0\.0\.1:\d+) until Ctrl-C", said[3])
        assert said[4].startswith(f"next: `curl -F picture=@PICTURE {address}/predict`")
        with urllib.request.urlopen(f"{address}/predict", picture.read_bytes(), 30) as answer:
            assert json.load(answer)["width"] == 50
        with urllib.request.urlopen(f"{address}/model", timeout=30) as answer:
            assert json.load(answer)["settings"]["max_size"] == 64
        server.send_signal(end)
        out, err = server.communicate(timeout=30)
    assert (server.returncode, err) == (0, "")
    assert out.count('"POST /predict HTTP/1.1" 200 OK') == 1
    assert out.splitlines()[-1].startswith("stopped after 1 pictures in ")
