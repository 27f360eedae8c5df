import os
import signal

import pytest

from lit_mtl.signals import STOP_REQUESTS, Stopped


def send(signum: signal.Signals) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_where_nothing_is_at_stake_a_signal_ends_at_once(signum: signal.Signals, code: int) -> None:
    with pytest.raises(Stopped, match=f"stopped by {signum.name}$") as caught:  # noqa: SIM117
        with STOP_REQUESTS.handled():
            send(signum)
    assert caught.value.exit_code == code
    assert not isinstance(caught.value, Exception), "an `except Exception` must not swallow it"


def test_a_deferred_signal_is_noted_and_raised_at_the_safe_point() -> None:
    with STOP_REQUESTS.handled():
        STOP_REQUESTS.defer()
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert STOP_REQUESTS.noted == signal.SIGTERM
        with pytest.raises(Stopped, match="SIGTERM"):
            STOP_REQUESTS.resume()


def test_a_second_interrupt_does_not_wait() -> None:
    with STOP_REQUESTS.handled():
        STOP_REQUESTS.defer()
        send(signal.SIGINT)
        with pytest.raises(Stopped, match="SIGINT"):
            send(signal.SIGINT)


def test_the_former_handlers_return_and_nothing_stays_noted() -> None:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    states = []
    with STOP_REQUESTS.handled():
        states.append(STOP_REQUESTS.active)
        STOP_REQUESTS.defer()
        send(signal.SIGTERM)
    states.append(STOP_REQUESTS.active)
    assert states == [True, False]
    assert {signum: signal.getsignal(signum) for signum in before} == before
    with STOP_REQUESTS.handled():
        assert not STOP_REQUESTS.noted
        STOP_REQUESTS.resume()


def test_a_forked_process_leaves_the_group_only_where_signals_are_handled() -> None:
    def group_of_child() -> int:
        child = os.fork()
        if not child:
            os._exit(int(os.getpgid(0) == os.getpid()))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert group_of_child() == 0
    with STOP_REQUESTS.handled():
        assert group_of_child() == 1


def test_the_note_says_what_was_saved() -> None:
    assert str(Stopped(signal.SIGINT, "Saved x")) == "stopped by SIGINT. Saved x"
