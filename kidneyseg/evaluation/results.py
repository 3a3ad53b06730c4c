"""What an evaluation found: figures by case, over cases, by group, and between two models."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

from kidneyseg.evaluation.cases import SplitPart, used_as
from kidneyseg.evaluation.evaluating import KIDNEYS, STRUCTURES, CaseResult
from kidneyseg.evaluation.measures import MEASURES, Measures
from kidneyseg.evaluation.statistics import Comparison, Summary, compare, summarize, worst
from kidneyseg.model.description import ModelDescription
from kidneyseg.model.mask_steps import PLAIN, MaskSteps

SMALLEST_GROUP = 3  # cases; of fewer a mean says nothing
TRAINING_DICE = "training_dice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One model's figures on some cases."""

    description: ModelDescription
    part: SplitPart
    cases: tuple[CaseResult, ...]
    looks_before: int | None = None  # at the test set; None where this was no look
    steps: MaskSteps = PLAIN  # beyond plain masks; at training resolution there are none

    def figures(self, measure: str, structure: str = KIDNEYS) -> dict[str, float]:
        """A measure of each case, by its name."""
        return {
            result.case.case.name: float(getattr(result.measures[structure], measure))
            for result in self.cases
        }

    def training_figures(self) -> dict[str, float]:
        """The Dice of each case in the report's own way."""
        return {result.case.case.name: result.training_dice for result in self.cases}

    def summary(self, measure: str, structure: str = KIDNEYS) -> Summary:
        """A measure over all cases."""
        return summarize(list(self.figures(measure, structure).values()))

    def training_summary(self) -> Summary:
        """The report's own Dice over all cases."""
        return summarize(list(self.training_figures().values()))

    def worst(self) -> list[str]:
        """The five cases of the lowest Dice, the lowest first."""
        return worst(self.figures("dice"))

    def count(self, what: str) -> int:
        """The kidneys that were missed, or false, in all cases (`missed_kidneys`)."""
        return sum(int(getattr(result, what)) for result in self.cases)

    def groups(self) -> dict[str, dict[str, "Results"]]:
        """The same by slice thickness and by tumour, in groups of three cases or more."""
        grouped: dict[str, dict[str, Results]] = {}
        for kind in self.cases[0].case.groups:
            ordered = sorted(self.cases, key=lambda result: _size(result, kind))
            names = list(dict.fromkeys(result.case.groups[kind] for result in ordered))
            grouped[kind] = {name: self._only(kind, name) for name in names}
        return {
            kind: {name: one for name, one in groups.items() if len(one.cases) >= SMALLEST_GROUP}
            for kind, groups in grouped.items()
        }

    def comparison(self, other: "Results") -> dict[str, dict[str, Comparison]]:
        """Another model on the same cases, minus this one: by structure and measure."""
        compared = {
            structure: {
                measure: compare(
                    self.figures(measure, structure), other.figures(measure, structure)
                )
                for measure in MEASURES
            }
            for structure in STRUCTURES
        }
        training = compare(self.training_figures(), other.training_figures())
        compared[KIDNEYS] = {**compared[KIDNEYS], TRAINING_DICE: training}
        return compared

    def _only(self, kind: str, name: str) -> "Results":
        chosen = tuple(result for result in self.cases if result.case.groups[kind] == name)
        return Results(description=self.description, part=self.part, cases=chosen)


def as_document(results: Results, other: Results | None = None) -> dict[str, Any]:
    """Everything that was found, for `--json`."""
    document = {
        "model": _identity(results.description),
        "split": results.part.value,
        "looks_before": results.looks_before,
        "clean_up": results.steps.as_json(),
        "cases": [_case_document(result, results.description) for result in results.cases],
        "summary": _summaries(results),
        "training_resolution": {"dice": asdict(results.training_summary())},
        "missed_kidneys": results.count("missed_kidneys"),
        "false_kidneys": results.count("false_kidneys"),
        "worst": results.worst(),
        "groups": {
            kind: {name: _summaries(one)[KIDNEYS] for name, one in groups.items()}
            for kind, groups in results.groups().items()
        },
    }
    if other is not None:
        document["other"] = as_document(other)
        document["comparison"] = {
            structure: {measure: asdict(one) for measure, one in compared.items()}
            for structure, compared in results.comparison(other).items()
        }
    return document


def as_csv(several: Sequence[Results]) -> str:
    """A line for each model, case and structure."""
    text = StringIO()
    head = ["model", "case", "split", "structure", *MEASURES, "true_ml", "predicted_ml", "presence"]
    counts = ["missed_kidneys", "false_kidneys", TRAINING_DICE, "slice_mm", "tumor_ml"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *counts])
    for results in several:
        model = results.description.weights_sha256[:16]
        for result in results.cases:
            for structure, measures in result.measures.items():
                use = used_as(result.case, results.description).value
                whose = (model, result.case.case.name, use, structure)
                counted = (result.missed_kidneys, result.false_kidneys, result.training_dice)
                sizes = (result.case.slice_mm, result.case.tumor_ml)
                writer.writerow((*whose, *_measures_document(measures).values(), *counted, *sizes))
    return text.getvalue()


def _size(result: CaseResult, kind: str) -> float:
    return result.case.slice_mm if kind == "slice thickness" else result.case.tumor_ml


def _summaries(results: Results) -> dict[str, dict[str, Any]]:
    return {
        structure: {measure: asdict(results.summary(measure, structure)) for measure in MEASURES}
        for structure in STRUCTURES
    }


def _case_document(result: CaseResult, description: ModelDescription) -> dict[str, Any]:
    return {
        "case": result.case.case.name,
        "split": used_as(result.case, description).value,
        "slice_mm": result.case.slice_mm,
        "tumor_ml": result.case.tumor_ml,
        **{name: _measures_document(each) for name, each in result.measures.items()},
        "missed_kidneys": result.missed_kidneys,
        "false_kidneys": result.false_kidneys,
        TRAINING_DICE: result.training_dice,
    }


def _measures_document(measures: Measures) -> dict[str, Any]:
    return {
        **{name: getattr(measures, name) for name in MEASURES},
        "true_ml": measures.true_ml,
        "predicted_ml": measures.predicted_ml,
        "presence": measures.presence.value,
    }


def _identity(description: ModelDescription) -> dict[str, Any]:
    provenance = description.provenance
    return {
        "weights_sha256": description.weights_sha256,
        "study": provenance.study,
        "trial": provenance.trial,
        "data": provenance.data,
        "split": provenance.split,
    }
