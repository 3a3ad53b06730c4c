"""A worker's side: whatever becomes of the process, the worker hears of it and nothing is left."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import psutil
import pytest

from kidneyseg.runs import CRASH_FILE
from kidneyseg.search.limits import Limits
from kidneyseg.search.objective import Workplace
from kidneyseg.search.storage import Storage
from kidneyseg.search.training_process import (
    LimitExceededError,
    TrainingProcess,
    TrialProcessDiedError,
    training_process,
)
from kidneyseg.search.trial_order import (
    FOR_THE_WORKER,
    EpochReport,
    Message,
    Resumed,
    TrialOrder,
    Written,
)

HOUR = 3600


@pytest.fixture
def order(
    storage: Storage,
    long_trials: Callable[..., Workplace],
    build_order: Callable[..., TrialOrder],
) -> TrialOrder:
    """A training of eight epochs on one thread."""
    workplace = long_trials(storage)
    return build_order(workplace, workplace.study.optuna.ask(), threads=1, pictures=False)


def pid_of(process: TrainingProcess) -> int:
    pid = process._process.pid
    assert pid is not None
    return pid


def server_pid() -> int:
    """The server that training processes come from."""
    from multiprocessing.forkserver import _forkserver

    return int(vars(_forkserver)["_forkserver_pid"])


def told(process: TrainingProcess) -> Iterator[Message]:
    return (message for message in process.messages() if message is not None)


def answer_each(process: TrainingProcess, pipe: Connection, message: Message) -> None:
    """Tell this as often as the worker looks, for a minute at most."""
    until = time.monotonic() + 60
    for _ in process.messages():
        pipe.send_bytes(message.model_dump_json().encode())
        if time.monotonic() > until:
            return


def until_epoch(process: TrainingProcess, last: int) -> list[Message]:
    """Have it train until it has told of an epoch, and waits."""
    heard = []
    for message in told(process):
        heard.append(message)
        if isinstance(message, EpochReport):
            if message.epoch == last:
                return heard
            process.go_on()
    raise AssertionError(f"it ended before epoch {last}")


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_waits_for_the_word_to_go_on_and_ends_when_told(order: TrialOrder) -> None:
    with training_process(order, Limits()) as process:
        heard = until_epoch(process, 2)
        pid = pid_of(process)
        assert psutil.pid_exists(pid)
        process.finish()
        assert list(told(process)) == []
    assert [message.kind for message in heard] == ["resumed", "epoch", "epoch"]
    wait_until_gone(pid)


def test_it_tells_of_its_last_epoch(order: TrialOrder) -> None:
    with training_process(order, Limits()) as process:
        reports = until_epoch(process, 8)[1:]
    assert [r.is_last for r in reports if isinstance(r, EpochReport)] == [False] * 7 + [True]


def test_a_next_process_goes_on_where_one_was_ended_to_the_same_result(
    order: TrialOrder, build_order: Callable[..., TrialOrder]
) -> None:
    whole = order.model_copy(update={"folder": order.folder.with_name("whole")})
    with training_process(whole, Limits()) as process:
        expected = until_epoch(process, 4)
    with training_process(order, Limits()) as process:
        first = until_epoch(process, 2)
    with training_process(order, Limits()) as process:
        resumed, again, *then = until_epoch(process, 4)
    dice = [message.dice for message in expected if isinstance(message, EpochReport)]
    assert resumed == Resumed(history=tuple(dice[:2]))
    assert again == first[-1]  # whoever heard it first may have died before it was in the database
    found = [message.dice for message in (*first, *then) if isinstance(message, EpochReport)]
    assert found == dice


def test_now_and_then_others_may_be_looked_at(order: TrialOrder) -> None:
    with training_process(order, Limits()) as process:
        messages = process.messages()
        while not isinstance(next(messages), EpochReport):
            pass
        assert [next(messages) for _ in range(3)] == [None] * 3  # it waits, and so do we not


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (signal.SIGKILL, r"was ended by SIGKILL \(out of memory\?\)"),
        (signal.SIGSEGV, "was ended by SIGSEGV$"),
        (signal.SIGABRT, "was ended by SIGABRT$"),
    ],
)
def test_a_process_that_dies_is_told_by_its_signal(
    order: TrialOrder, sent: signal.Signals, words: str
) -> None:
    with training_process(order, Limits()) as process:
        until_epoch(process, 1)
        process.go_on()
        os.kill(pid_of(process), sent)
        with pytest.raises(TrialProcessDiedError, match=words):
            list(process.messages())


def test_a_process_that_dies_after_its_end_was_ordered_has_ended(order: TrialOrder) -> None:
    """All is kept and told by then: a driver that crashes at exit takes nothing away."""
    with training_process(order, Limits()) as process:
        until_epoch(process, 1)
        os.kill(pid_of(process), signal.SIGSTOP)
        process.finish()
        os.kill(pid_of(process), signal.SIGKILL)
        assert list(told(process)) == []


def test_where_a_library_crashed_is_left_in_the_trials_folder(order: TrialOrder) -> None:
    with training_process(order, Limits()) as process:
        until_epoch(process, 1)
        process.go_on()
        os.kill(pid_of(process), signal.SIGSEGV)
        with pytest.raises(TrialProcessDiedError):
            list(process.messages())
    crash = (order.folder / CRASH_FILE).read_text(encoding="utf-8")
    assert "Fatal Python error: Segmentation fault" in crash
    assert "trial_process.py" in crash


def test_time_under_earlier_numbers_counts_towards_the_limit(order: TrialOrder) -> None:
    with training_process(order, Limits(hours=1.0)) as process:
        until_epoch(process, 1)
        process.count_in(3601)
        with pytest.raises(LimitExceededError, match="longer than the study allows"):
            list(process.messages())


def test_a_process_that_dies_at_once_is_told_too(order: TrialOrder) -> None:
    with training_process(order, Limits()) as process:
        os.kill(pid_of(process), signal.SIGKILL)
        with pytest.raises(TrialProcessDiedError, match="SIGKILL"):
            list(process.messages())
        process.go_on()
        process.finish()  # neither is an error: who listens hears of the death


def test_signals_to_the_whole_group_are_not_for_it(order: TrialOrder) -> None:
    with training_process(order, Limits()) as process:
        for name in FOR_THE_WORKER:
            os.kill(pid_of(process), getattr(signal, name))
        until_epoch(process, 1)
        for name in FOR_THE_WORKER:
            os.kill(pid_of(process), getattr(signal, name))
        process.go_on()
        until_epoch(process, 2)


def test_the_server_of_processes_outlives_signals_to_the_whole_group(order: TrialOrder) -> None:
    with training_process(order, Limits()):
        server = server_pid()
        for name in FOR_THE_WORKER:
            os.kill(server, getattr(signal, name))
    with training_process(order, Limits()) as process:
        until_epoch(process, 1)
    assert server_pid() == server


def test_this_process_still_hears_its_signals(order: TrialOrder) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with training_process(order, Limits()):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_trial_that_takes_too_long_is_told(order: TrialOrder) -> None:
    with (
        training_process(order, Limits(hours=1e-4)) as process,
        pytest.raises(LimitExceededError, match=r"longer than .*\(limits.hours = 0.0001\)"),
    ):
        until_epoch(process, 9)


def test_a_trial_that_takes_too_much_memory_is_told(order: TrialOrder) -> None:
    with (
        training_process(order, Limits(memory_gb=1e-3)) as process,
        pytest.raises(LimitExceededError, match=r"took \d\.\d GB .*limits.memory_gb = 0.001\)"),
    ):
        until_epoch(process, 9)


def test_what_a_trial_may_take_it_may_take(order: TrialOrder) -> None:
    with training_process(order, Limits(hours=1, memory_gb=64, silent_hours=1)) as process:
        until_epoch(process, 2)


def test_a_process_that_hangs_is_told_and_ended(order: TrialOrder) -> None:
    limits = Limits(silent_hours=0.5 / HOUR)
    with training_process(order, limits) as process:
        pid = pid_of(process)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TrialProcessDiedError, match="said nothing for 0 minutes"):
            list(process.messages())
    wait_until_gone(pid)


def test_what_libraries_write_is_no_sign_of_a_training(order: TrialOrder) -> None:
    here, there = Pipe()
    with training_process(order, Limits(silent_hours=1)) as real:
        hung = TrainingProcess(real._process, here, Limits(silent_hours=0.5 / HOUR))
        with pytest.raises(TrialProcessDiedError, match="said nothing"):
            answer_each(hung, there, Written(line="still waiting"))


def test_time_in_which_the_worker_lets_it_wait_is_no_silence(
    order: TrialOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may have been away."""
    now = time.monotonic()
    monkeypatch.setattr(
        "kidneyseg.search.training_process.time.monotonic", lambda: now
    )  # which stands still
    with training_process(order, Limits(silent_hours=1)) as process:
        until_epoch(process, 1)
        now += 2 * HOUR
        process.go_on()
        until_epoch(process, 2)


def test_a_process_ends_when_its_worker_is_gone(order: TrialOrder) -> None:
    with training_process(order, Limits()) as process:
        until_epoch(process, 1)
        pid = pid_of(process)
        process._pipe.close()  # as the system does when the worker is killed
        wait_until_gone(pid)


@pytest.mark.parametrize("epoch", [None, 1], ids=["at once", "after an epoch"])
def test_nothing_is_left_of_a_process_whose_worker_turns_to_something_else(
    order: TrialOrder, epoch: int | None
) -> None:
    def leave() -> int:
        with training_process(order, Limits()) as process:
            if epoch is not None:
                until_epoch(process, epoch)
                process.go_on()
            raise KeyboardInterrupt(pid_of(process))

    with pytest.raises(KeyboardInterrupt) as caught:
        leave()
    wait_until_gone(caught.value.args[0])
