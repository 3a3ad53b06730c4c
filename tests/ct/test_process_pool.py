"""Work in processes: all of it is done, what dies is told, what is left is ended."""

import os
import signal
import threading
import time

import psutil
import pytest

from kidneyseg.ct.process_pool import Died, _interrupts_blocked, count_processes, work_on_each

KILL_ITSELF = "__import__('os').kill(__import__('os').getpid(), 9)"


def test_every_item_is_answered() -> None:
    assert sorted(work_on_each(abs, [-3, 2, -1, 5, -4], 2)) == [
        (-4, 4),
        (-3, 3),
        (-1, 1),
        (2, 2),
        (5, 5),
    ]


def test_a_process_that_dies_is_an_answer_and_the_others_go_on() -> None:
    items = ["1 + 1", KILL_ITSELF, "__import__('os')._exit(3)", "2 + 2"]
    assert dict(work_on_each(eval, items, 2)) == {
        items[0]: 2,
        items[1]: Died(-9),
        items[2]: Died(3),
        items[3]: 4,
    }


def test_what_the_work_raises_is_raised_here_and_no_process_is_left() -> None:
    with pytest.raises(ZeroDivisionError):
        list(work_on_each(eval, ["1 / 0", "__import__('time').sleep(60)"], 2))
    assert not workers()


def test_stopped_early_it_ends_its_processes_at_once() -> None:
    answers = work_on_each(time.sleep, [0.0, 60.0], 2)
    assert next(answers) == (0.0, None)
    assert workers()
    begun = time.monotonic()
    answers.close()
    assert time.monotonic() - begun < 10
    assert not workers()


def test_nothing_to_do_starts_nothing() -> None:
    assert list(work_on_each(abs, [], 4)) == []


def test_an_interrupt_that_another_thread_takes_waits_until_a_process_has_started() -> None:
    done, reached = threading.Event(), []

    def start() -> None:
        with _interrupts_blocked():
            os.kill(os.getpid(), signal.SIGINT)
            for number in range(1000):
                time.sleep(0.0001)
                reached.append(number)

    other = threading.Thread(target=done.wait)  # signals are not blocked in it
    other.start()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        start()
    done.set()
    other.join()
    assert len(reached) == 1000
    assert signal.getsignal(signal.SIGINT) is handler


def workers() -> list[psutil.Process]:
    """Processes of this pool; the standard library keeps one of its own that ends with pytest."""
    children = psutil.Process().children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.parametrize(
    ("n_items", "cores", "available", "expected"),
    [(100, 4, 100, 4), (2, 4, 100, 2), (100, 64, 1000, 64), (100, 8, 25, 2), (100, 8, 3, 1)],
)
def test_processes_are_bounded_by_items_cores_and_memory(
    n_items: int, cores: int, available: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = psutil.virtual_memory()._replace(available=available)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr("kidneyseg.ct.process_pool.count_cores", lambda: cores)
    assert count_processes(n_items, memory_each=10) == expected
