"""The page's tables of trials and of hyper-parameters."""

from collections import Counter

from kidneyseg.search.budget import HANDED_BACK
from kidneyseg.search.report.answer import OWN, Answer, report_values
from kidneyseg.search.report.markup import Markup, details, table, tag
from kidneyseg.search.report.meanings import meaning
from kidneyseg.search.report.sentences import interval_words
from kidneyseg.search.report.words import (
    counted,
    flat,
    hours_words,
    range_words,
    value_words,
    values_words,
)
from kidneyseg.search.study_record import StudyRecord, TrialRecord

MOST_RANKED = 10
MOST_FAILED = 30
NOT_DRAWN = "not drawn"


def glance(record: StudyRecord, answer: Answer) -> Markup:
    """The numbers that people look for first."""
    status, gain = record.status, answer.gain_mean
    gained = [] if gain is None else [("gain over the reference", f"{gain:+.4f}")]
    given = [
        ("best validation Dice", f"{answer.best.value:.4f}"),
        *gained,
        ("finished trials", f"{status.finished}"),
        ("of them pruned", f"{status.states['pruned']}"),
        ("epochs trained", f"{status.epochs}"),
        ("work", hours_words(status.hours)),
        ("epochs saved by pruning", f"{status.saved_epochs}"),
    ]
    cells = (tag("div", tag("dt", name), tag("dd", value)) for name, value in given)
    return tag("dl", *cells, class_="glance")


def hyperparameter_table(record: StudyRecord, answer: Answer) -> Markup:
    """The best trial's values beside the report's own and the reference's."""
    own, reference = report_values(record), answer.reference
    beside = None if reference is None or reference.name == OWN else reference
    head = ["hyper-parameter", f"best: trial {answer.best.number}", "the report's own"]
    head += [] if beside is None else [f"{beside.name}: trial {beside.trial.number}"]
    rows = []
    for name, range_ in record.definition.space.root.items():
        row = [name, _value(answer.best, name), value_words(own.get(name, "none"))]
        row += [] if beside is None else [_value(beside.trial, name)]
        rows.append([*row, range_words(range_), meaning(name).replace("`", "")])
    return table("What varied", [*head, "searched", "meaning"], rows, below=2)


def ranking_table(record: StudyRecord, answer: Answer) -> Markup:
    """The best trials, and which of them can be told from the first."""
    trained = [trial for trial in record.complete if trial.copy_of is None]
    ranked = sorted(trained, key=lambda trial: (-(trial.value or 0.0), trial.number))
    rows = [
        [
            f"{trial.number}",
            f"{trial.value:.4f}",
            "" if trial.best_epoch is None else f"{trial.best_epoch}",
            _behind(answer, trial),
            values_words(trial.params),
        ]
        for trial in ranked[:MOST_RANKED]
    ]
    caption = f"The best {counted(len(rows), 'trial')} of {len(ranked)} complete ones"
    head = ["trial", "Dice", "epoch", "behind the best, 95 % interval", "values"]
    return table(caption, head, rows, below=2)


def failed_table(record: StudyRecord) -> Markup:
    """Failed trials with their reasons, and how many were taken up again."""
    failed = [trial for trial in record.trials if trial.is_failed]
    handed_back = sum(trial.outcome.startswith(HANDED_BACK) for trial in record.trials)
    copies = sum(trial.copy_of is not None for trial in record.finished)
    told = [_others(handed_back, copies)] if handed_back or copies else []
    if not failed:
        return tag("p", " ".join(["No trial failed.", *told]))
    rows = [
        [f"{trial.number}", trial.outcome.removeprefix("failed: "), values_words(trial.params)]
        for trial in failed[:MOST_FAILED]
    ]
    caption = f"{counted(len(failed), 'trial')} failed"
    if len(failed) > MOST_FAILED:
        kinds = len(Counter(trial.outcome for trial in failed))
        caption += f", for {counted(kinds, 'reason')}; here are the first {MOST_FAILED}"
    whole = table(caption, ["trial", "reason", "values"], rows, below=2)
    return Markup(whole + "".join(tag("p", each) for each in told))


def settings_table(record: StudyRecord) -> Markup:
    """Everything that was the same for all trials."""
    definition = record.definition
    own = {name: value_words(value) for name, value in definition.given.items()}
    for name in definition.space.names():
        own.pop(name, None)
    settings = definition.settings.model_dump(mode="json", exclude={"network"})
    rows = [[name, value] for name, value in {**own, **flat(settings)}.items()]
    whole = table("Hyper-parameters and settings that did not vary", ["name", "value"], rows)
    return details("All that did not vary", whole)


def _value(trial: TrialRecord, name: str) -> str:
    return value_words(trial.params[name]) if name in trial.params else NOT_DRAWN


def _behind(answer: Answer, trial: TrialRecord) -> str:
    if trial is answer.best:
        return "the best"
    behind = answer.behind.get(trial.number)
    if behind is None:
        return f"{(answer.best.value or 0.0) - (trial.value or 0.0):.4f}"
    interval = interval_words(behind).removeprefix("95 % interval ")
    told = "not told apart" if behind.holds_zero else "worse"
    return f"{behind.mean:.4f} ({interval}): {told}"


def _others(handed_back: int, copies: int) -> str:
    words = []
    if handed_back:
        words.append(
            f"{counted(handed_back, 'trial')} that a worker gave back or left went on under a new "
            "number."
        )
    if copies:
        words.append(
            f"{counted(copies, 'trial')} drew values that another had already; it has the other's "
            "result, and counts once where trials are compared."
        )
    return " ".join(words)
