"""Ctrl-C is heard where it does no harm, and a second one at once."""

import os
import signal
import threading

import pytest

from mask2former.engine.stops import on_signal, patient_keyboard


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_keyboard_waits_until_it_is_asked_for() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []
    with pytest.raises(KeyboardInterrupt), patient_keyboard() as look:
        look()
        press()
        done.append("the work")
        look()
        done.append("more")
    assert done == ["the work"]
    assert signal.getsignal(signal.SIGINT) is before


def test_keyboard_is_heard_at_the_end_at_last() -> None:
    with pytest.raises(KeyboardInterrupt), patient_keyboard():
        press()


def test_second_press_is_heard_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), patient_keyboard():
        press()
        press()
        pytest.fail("went on")


def test_fault_of_the_work_is_not_hidden_by_the_keyboard() -> None:
    with pytest.raises(ValueError, match="mine"), patient_keyboard():
        press()
        raise ValueError("mine")


def test_other_threads_neither_listen_nor_fail() -> None:
    heard: list[str] = []

    def work() -> None:
        with patient_keyboard() as look, on_signal(signal.SIGTERM, lambda: heard.append("no")):
            look()
            heard.append("done")

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == ["done"]
    assert signal.getsignal(signal.SIGINT) is before


def test_signal_calls_and_is_given_back() -> None:
    heard: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with on_signal(signal.SIGTERM, lambda: heard.append(1)):
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [1]
    assert signal.getsignal(signal.SIGTERM) is before
