"""Where the numbers come from: the cases, the code, the machines; and how to do it again."""

from collections.abc import Callable

from kidneyseg.provenance import Provenance
from kidneyseg.search.report.answer import Answer
from kidneyseg.search.report.markup import Markup, join, table, tag
from kidneyseg.search.report.split_file import SplitAtHand
from kidneyseg.search.report.words import counted, listed
from kidneyseg.search.study_record import StudyRecord

UNKNOWN = "not known"


def data_table(record: StudyRecord, answer: Answer, at_hand: SplitAtHand | None) -> Markup:
    """The numbers of cases by use, and the fingerprints."""
    definition = record.definition
    n_validation = f"{len(answer.best.dice_of_case)}" if answer.best.dice_of_case else UNKNOWN
    elsewhere = f"{UNKNOWN} on this machine"
    uses = {"training": elsewhere, "validation": n_validation, "test": elsewhere}
    looks = elsewhere
    if at_hand is not None:
        split = at_hand.split
        uses = {
            "training": f"{len(split.training)}",
            "validation": f"{len(split.validation)}",
            "test": f"{len(split.test)}, sealed during the search",
        }
        looks = "the ledger cannot be read" if at_hand.n_looks is None else f"{at_hand.n_looks}"
    rows = [
        *([f"{use} cases", n] for use, n in uses.items()),
        ["looks at the test cases so far", looks],
        ["data, SHA-256", definition.data],
        ["split, SHA-256", definition.split],
    ]
    return table("Cases, split by patient", ["what", "value"], rows)


def provenance_tables(record: StudyRecord, answer: Answer) -> Markup:
    """What trained the best trial, and what else was at work on the study."""
    found = answer.best.provenance
    if found is None:
        return tag("p", f"What trained trial {answer.best.number} is not in the database.")
    rows = [
        ["trial", f"{answer.best.number} of study {record.name}"],
        ["code, SHA-256", found.code],
        *([f"version of {name}", version] for name, version in found.versions.items()),
        ["device", " ".join(filter(None, (found.device, found.gpu)))],
        ["processor", found.processor or UNKNOWN],
        ["threads", f"{found.threads}" if found.threads is not None else UNKNOWN],
        ["host", found.host],
        ["seed", f"{found.seed}"],
    ]
    caption = f"What trained trial {answer.best.number}"
    return join([table(caption, ["what", "value"], rows), tag("p", _mixture(record))])


def again(record: StudyRecord) -> Markup:
    """The commands that go on from here; none needs more than the database and the scans."""
    n, name = record.status.n_trials, record.name
    budget = f" of {counted(n, 'finished trial')}" if n else ""
    lines = [
        f"kidneyseg-search worker --study {name} --data DIR",
        f"kidneyseg-search export --study {name} --out best --data DIR",
        "kidneyseg evaluate --model best --data DIR --split test",
    ]
    words = (
        f"A worker trains up to the study's budget{budget}. To raise it, give the command that "
        "began the study again, with a higher --n-trials and all else as it was: the same study "
        "file, --name and every --set."
    )
    return join([tag("pre", tag("code", "\n".join(lines))), tag("p", words)])


def _mixture(record: StudyRecord) -> str:
    """Whether all trials were trained alike."""
    all_found = [trial.provenance for trial in record.finished if trial.provenance is not None]
    asked: list[tuple[str, Callable[[Provenance], str]]] = [
        ("state of the code", lambda each: each.code),
        ("set of versions", lambda each: repr(sorted(each.versions.items()))),
        ("kind of device", _device),
        ("host", lambda each: each.host),
    ]
    counts = [(thing, len(set(map(of, all_found)))) for thing, of in asked]
    words = listed([_counted(n, thing) for thing, n in counts])
    told = f"The {counted(len(all_found), 'finished trial')} were trained with {words}."
    mixed = [thing for thing, n in counts[:2] if n > 1]
    if mixed:
        told += " Trials of different code or versions are compared here: mind that."
    return told


def _counted(n: int, thing: str) -> str:
    first, *rest = thing.split(" ", 1)
    return f"{counted(n, first)}{' ' * bool(rest)}{''.join(rest)}"


def _device(found: Provenance) -> str:
    return found.gpu or found.device.split(":")[0]
