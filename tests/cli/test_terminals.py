"""Colors and progress: in a terminal, with NO_COLOR, in a pipe."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from kidneyseg.cli.display import SearchDisplay, show_epochs, stderr_console, track
from kidneyseg.search.events import EpochFinished, TrialStarted, Warned
from kidneyseg.training.results import EpochResult, MeanLosses

COLOR = re.compile(r"\x1b\[[0-9;]*?(3[0-8]|4[0-8]|9[0-7])[0-9;]*m")

EPOCH = EpochFinished(
    trial=0, epoch=1, max_epochs=2, dice=0.5, best_dice=0.5, loss=0.7, seconds=1.0
)


LOSSES = MeanLosses(combined=0.7, dice=0.5, cross_entropy=0.4)
RESULT = EpochResult(
    epoch=1,
    learning_rate=1e-3,
    training_losses=LOSSES,
    validation_losses=replace(LOSSES, combined=0.9),
    training_dice=0.4,
    validation_dice=0.5,
    dice_of_case={"case_00000": 0.5},
    loss_rises=0,
    is_best=True,
    best_dice=0.5,
    is_last=False,
    seconds=1.5,
    slices_per_second=120.4,
    skipped_steps=0,
    small_batch_size=4,
    evaluation_batch_size=16,
    memory_bytes=0,
)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Stderr counts as a terminal of many colors."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


def progress(capsys: pytest.CaptureFixture[str]) -> str:
    assert list(track(range(3), "cases prepared")) == [0, 1, 2]
    caught = capsys.readouterr()
    assert caught.out == ""
    return caught.err


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_progress_in_color(capsys: pytest.CaptureFixture[str]) -> None:
    assert COLOR.search(progress(capsys))


def test_a_notebook_gets_plain_lines_though_it_claims_to_be_a_terminal(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("TERM", "xterm-color")
    terminal.setenv("JPY_PARENT_PID", "4711")
    assert progress(capsys) == "cases prepared: 3\n"
    display = SearchDisplay(stderr_console(), 2, 0)
    with display.live():
        display.show(TrialStarted(trial=0, hyperparameters={"batch_size": 8}))
        display.show(EPOCH)
    lines = capsys.readouterr().err.splitlines()
    assert [line[:17] for line in lines] == ["trial   0  starts", "trial   0  epoch "]
    assert "\x1b" not in "".join(lines)


def test_no_color_is_honoured(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("NO_COLOR", "1")
    shown = progress(capsys)
    assert "3/3" in shown
    assert not COLOR.search(shown)


def test_a_pipe_gets_plain_lines_and_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert progress(capsys) == "cases prepared: 3\n"


def test_a_pipe_gets_a_line_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    clock = [0.0]  # seconds
    monkeypatch.setattr("kidneyseg.cli.display.time.monotonic", lambda: clock[0])

    def cases() -> Iterator[float]:
        for seconds in (0, 20, 31, 59, 60, 100, 131):
            clock[0] = seconds
            yield seconds

    assert len(list(track(cases(), "cases checked", 7))) == 7
    assert capsys.readouterr().err.splitlines() == [
        "cases checked: 3 of 7",
        "cases checked: 6 of 7",
        "cases checked: 7",
    ]


def test_a_long_line_is_never_broken_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    stderr_console().print("x" * 300)
    assert capsys.readouterr().err == "x" * 300 + "\n"


def test_a_search_in_a_pipe_is_a_line_for_each_event_without_control_characters() -> None:
    stream = io.StringIO()
    display = SearchDisplay(Console(file=stream, highlight=False, soft_wrap=True), 2, 0)
    with display.live():
        display.show(TrialStarted(trial=0, hyperparameters={"batch_size": 8}))
        display.show(EPOCH)
        display.show(Warned(trial=0, message="[old] name"))
    assert len(stream.getvalue().splitlines()) == 3
    assert stream.getvalue().endswith("trial   0  warns        [old] name\n")
    assert "\x1b" not in stream.getvalue()


def test_a_training_in_a_pipe_is_a_line_for_each_epoch_with_its_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_epochs([RESULT, replace(RESULT, epoch=2, is_best=False)], 6)
    figures = "Dice 0.5000  loss 0.7000 training, 0.9000 validation  1.5 s  120 slices/s"
    assert capsys.readouterr().err.splitlines() == [
        f"epoch 1  {figures}  best so far",
        f"epoch 2  {figures}",
    ]


@pytest.mark.usefixtures("terminal")
def test_a_training_in_a_terminal_has_a_bar_below_the_epochs_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_epochs([RESULT, replace(RESULT, epoch=2)], 6)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    for words in ("epoch 1  Dice 0.5000", "epoch 2  Dice 0.5000", "0/6", "2/6"):
        assert words in shown
