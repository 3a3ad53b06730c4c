"""What is written to stderr is handed on in whole lines, whoever writes it, in whatever pieces."""

import sys
import threading

from kidneyseg.search.written_lines import WrittenLines


def test_a_line_is_handed_on_once_it_is_whole() -> None:
    told: list[str] = []
    lines = WrittenLines(told.append, sys.stderr)
    lines.write("one ")
    assert told == []
    lines.write("line  \n\nanother\nbeg")
    assert told == ["one line", "another"]
    lines.write("un")
    lines.end()
    lines.end()
    assert told == ["one line", "another", "begun"]


def test_lines_of_several_threads_do_not_mix() -> None:
    told: list[str] = []
    lines = WrittenLines(told.append, sys.stderr)

    def write(letter: str) -> None:
        for _ in range(200):
            lines.write(letter * 3 + "\n")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["aaa"] * 200 + ["bbb"] * 200


def test_it_has_the_number_of_stderr_for_processes_that_inherit_it() -> None:
    with open(1, "w", closefd=False, encoding="utf-8") as stream:
        assert WrittenLines(print, stream).fileno() == 1
