"""The question and the answer of a study, in sentences with numbers."""

from kidneyseg.search.report.answer import MIN_CASES, Answer, Estimate
from kidneyseg.search.report.methods import pruner_sentence, sampler_sentence
from kidneyseg.search.report.words import counted, listed, value_words
from kidneyseg.search.study_record import StudyRecord

PHANTOMS = " The scans are phantoms, drawn by this program: no patients' scans."


def question(record: StudyRecord) -> str:
    """What was searched, and how."""
    definition = record.definition
    names = list(definition.space.names())
    verb = "gives" if len(names) == 1 else "give"
    return (
        f"Which {listed(names)} {verb} the highest validation Dice? Each trial trained one network "
        "with values of its own, and its value is the Dice of its best epoch: per volume, on "
        "slices near the kidney, averaged over the validation cases. "
        f"{sampler_sentence(definition.sampler, len(definition.start_points))} "
        f"{pruner_sentence(definition.pruner)}{PHANTOMS if definition.phantoms else ''}"
    )


def answer_sentences(record: StudyRecord, answer: Answer) -> tuple[str, str, str]:
    """The answer: what is best, how much was gained, and how sure that is."""
    return _best(record, answer), _gain(answer), _how_sure(record, answer)


def interval_words(estimate: Estimate) -> str:
    """An interval, in brackets."""
    return f"95 % interval {estimate.low:.4f} to {estimate.high:.4f}"


def _best(record: StudyRecord, answer: Answer) -> str:
    best = answer.best
    values = listed([f"{name} = {value_words(value)}" for name, value in best.params.items()])
    n_cases = len(best.dice_of_case)
    spread = f" ({interval_words(answer.dice)} over {n_cases} cases)" if answer.dice else ""
    if answer.dice is None and n_cases:
        spread = f" (over {counted(n_cases, 'case')}, too few for an interval)"
    epoch = f", in epoch {best.best_epoch}" if best.best_epoch is not None else ""
    n = len(record.finished)
    of = f"the best of {n} finished trials" if n > 1 else "the only finished trial"
    return (
        f"Trial {best.number}, {of}, reached a Dice of {best.value:.4f}{spread}{epoch}, with "
        f"{values}."
    )


def _gain(answer: Answer) -> str:
    reference, gain = answer.reference, answer.gain_mean
    if reference is None or gain is None:
        return (
            "What was gained is not known: no finished trial had the report's own values, or "
            "those of a start point."
        )
    trial = reference.trial
    if trial is answer.best:
        return f"Nothing was gained: it is the trial of {reference.name}, and no other did better."
    pruned = ", where it was pruned" if trial.is_pruned else ""
    words = (
        f"That is {abs(gain):.4f} {'more' if gain >= 0 else 'less'} than {reference.name} gave "
        f"(trial {trial.number}: {trial.dice:.4f}{pruned})"
    )
    if answer.gain is None:
        return f"{words}; whether other cases would show it cannot be said: {_why_not(answer)}."
    shown = "which holds zero: no difference is shown" if answer.gain.holds_zero else "without zero"
    return (
        f"{words}; on the same cases the difference has a {interval_words(answer.gain)}, {shown}."
    )


def _how_sure(record: StudyRecord, answer: Answer) -> str:
    others = sum(1 for t in record.complete if t.copy_of is None and t is not answer.best)
    if not others:
        return "How sure the choice is cannot be said: there is no other complete trial."
    if not answer.behind:
        return f"How sure the choice is cannot be said: {_why_not(answer)}."
    n, alike = len(answer.behind), len(answer.alike)
    if not alike:
        return f"{_all_others(n)} worse on these cases, other seeds aside."
    return (
        f"{_alike_others(n, alike)} be told from it on these cases (the 95 % interval of the "
        f"difference reaches zero), so its values are one good choice among {alike + 1}."
    )


def _why_not(answer: Answer) -> str:
    n_cases = len(answer.best.dice_of_case)
    if 0 < n_cases < MIN_CASES:
        return f"{counted(n_cases, 'case')} {'is' if n_cases == 1 else 'are'} too few"
    return "the Dice of the same cases is not known"


def _all_others(n: int) -> str:
    if n == 1:
        return "The one other complete trial is"
    return f"{'Both' if n == 2 else f'All {n}'} other complete trials are"


def _alike_others(n: int, alike: int) -> str:
    if n == 1:
        return "The one other complete trial cannot"
    if alike == n:
        return f"{'Neither' if n == 2 else 'None'} of the {n} other complete trials can"
    return f"{alike} of the {n} other complete trials cannot"


LIMITS = (
    "The intervals tell how far other cases might change a number; what another seed would change, "
    "which is often as much, they do not know. The best of many trials is somewhat flattered by "
    "having been chosen for its Dice on these very cases: expect a little less on others. The test "
    "cases took no part in this."
)
