"""The line at the foot of a terminal is drawn for people alone."""

import io
import sys

import pytest

from mask2former.report.live import LiveLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_line_is_drawn_on_a_terminal_below_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with LiveLine() as live:
        assert live.shown
        live.show(3, 10, "step 3/10  loss [1.5]")
        print("a line of its own")
    told = terminal.getvalue()
    assert "step 3/10  loss [1.5]" in told
    assert "a line of its own\n" in told


def test_nothing_is_drawn_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveLine() as live:
        assert not live.shown
    assert capsys.readouterr().out == ""


def test_other_processes_keep_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert not LiveLine(wanted=False).shown
