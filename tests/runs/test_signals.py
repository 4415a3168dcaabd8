import os
import signal

import pytest

from jaxcnn.runs.signals import Preempted, Signals


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture
def interruptible():
    """Handle Ctrl-C as in a terminal, however the tests were started."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_signals_are_recorded_and_handlers_restored():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signals = Signals()
    with signals.watch():
        signals.poll()
        send(signal.SIGTERM)
        with pytest.raises(Preempted):
            signals.poll()
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_second_sigterm_repeats_the_request():
    signals = Signals()
    with signals.watch():
        for _ in range(3):
            send(signal.SIGTERM)
        assert signals.received


def test_a_second_ctrl_c_takes_effect_at_once(interruptible):
    with Signals().watch():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
            for _ in range(1000):  # Python may see a signal some instructions late.
                pass


def test_a_ctrl_c_that_was_ignored_stays_ignored(interruptible):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals = Signals()
    with signals.watch():
        send(signal.SIGINT)
        assert not signals.received


def test_a_signal_while_handlers_are_installed_is_recorded(monkeypatch, interruptible):
    install = signal.signal

    def early(number, handler):
        installed = install(number, handler)
        if getattr(handler, "__name__", "") == "note":
            send(number)
            for _ in range(1000):
                pass
        return installed

    monkeypatch.setattr(signal, "signal", early)
    signals = Signals()
    with signals.watch():
        assert signals.received
