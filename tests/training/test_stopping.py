"""Signals that ask a run to stop."""

import os
import signal

import pytest

from dgunet_jax.training.guard import stop_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_stop_signals_ask_to_stop(number):
    before = signal.getsignal(number)
    with stop_signals() as stop:
        assert not stop.asked(1)
        os.kill(os.getpid(), number)
        assert stop.asked(2)
        assert stop.signal == number
    assert signal.getsignal(number) == before


def test_stop_signals_leave_sighup_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked(1)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
