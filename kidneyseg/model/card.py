"""The model card: what a person should know before using a network."""

from collections.abc import Sequence

import numpy as np

from kidneyseg.model.description import ModelDescription

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0

_CARD = """# Kidney segmentation in CT: QuickNAT

Marks kidney (tumour included) in abdominal CT.

    kidneyseg predict --model . -i scan.nii.gz -o mask.nii.gz

## Intended use

Research on CT of the adult abdomen: masks and volumes of the kidneys that a person looks at before
relying on them. No medical device: not for diagnosis, treatment or triage, and no replacement for a
radiologist.

## How well

Validation Dice **{dice:.4f}**{interval}, per volume, averaged over {n_cases} validation cases, on
slices near the kidney at training resolution, in epoch {epoch}. {interval_words}
{where_from}
`kidneyseg evaluate` measures whole volumes at full resolution.

| case | Dice |
|---|---|
{cases}

## Limits

- Scans in Hounsfield units, axial slices; values outside {low:g} to {high:g} HU look alike to it.
- It knows what its training cases show. Other scanners, phases of contrast, ages, children,
  transplants, one kidney or joined kidneys may be beyond it: try it on cases of your own first.
- It sees {seen}: on thick slices the ends of a kidney are the least certain.
- `kidneyseg predict --uncertainty 10` tells how far the volume spreads with dropout kept on; a
  small spread is no proof.

## Data and licence

The fingerprint below says which scans it was trained on, not whose they are. Their licence holds
for the weights too: ask the data's owner before you use the weights or pass them on. Those trained
on KiTS19 are CC BY-NC-SA 4.0.

## What it is

| | |
|---|---|
| network | QuickNAT, {filters} filters, {kernel} x {kernel}, {variant} |
| in-plane | {resolution}, slices of {rows} x {columns} |
| HU window | {low:g} to {high:g} |
| threshold | {threshold:g} |
{hyperparameters}

## Where it comes from

| | |
|---|---|
| study, trial | {study}, {trial} |
| data | `{data}` |
| split | `{split}` |
| code | `{code}` |
| seed | {seed} |
| device | {device} on {host} |
| versions | {versions} |

The hashes are SHA-256: of all scans and labels, of the names in training, validation and test, and
of the program's source. The licence of the data holds for the weights too: those trained on KiTS19
are CC BY-NC-SA 4.0.
"""


def write_card(description: ModelDescription) -> str:
    """The model card as Markdown."""
    data, network = description.preprocessing, description.network
    provenance, validation = description.provenance, description.validation
    in_plane = (
        f"{data.spacing_mm:g} mm pixels"
        if data.spacing_mm is not None
        else f"downsampled by {data.downsampling}"
    )
    cases = validation.dice_of_case.items()
    values = description.hyperparameters.model_dump().items()
    interval, interval_words = _interval_words(list(validation.dice_of_case.values()))
    return _CARD.format(
        dice=validation.dice,
        interval=interval,
        interval_words=interval_words,
        where_from=_where_from(description),
        seen=_seen(network.input_slices),
        epoch=validation.epoch,
        n_cases=len(validation.dice_of_case),
        cases="\n".join(f"| {name} | {dice:.4f} |" for name, dice in cases),
        filters=network.filters,
        kernel=network.kernel_size,
        variant=f"{network.squeeze_excitation}, {network.activation}, {network.bottleneck}",
        resolution=in_plane,
        rows=data.slice_size[0],
        columns=data.slice_size[1],
        low=data.hu_window[0],
        high=data.hu_window[1],
        threshold=description.threshold,
        hyperparameters="\n".join(f"| {name} | {_plain(value)} |" for name, value in values),
        study=provenance.study or "none",
        trial="none" if provenance.trial is None else provenance.trial,
        data=provenance.data,
        split=provenance.split,
        code=provenance.code,
        seed=provenance.seed,
        device=provenance.device,
        host=provenance.host,
        versions=", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
    )


def _where_from(description: ModelDescription) -> str:
    """Which trainings the measures are of."""
    refit = description.refit
    if refit is None:
        return (
            "One number from one seed: the best of a search is somewhat flattered by having been "
            "chosen."
        )
    return (
        f"These are the averages of {refit.n_seeds} trainings with other seeds (study "
        f"{refit.study}). This network was then trained on training and validation cases together: "
        "only the test cases can measure it."
    )


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean over cases: percentiles of the means of 10 000 resamples.

    Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.
    """
    given = np.asarray(values, np.float64)
    drawn = np.random.default_rng(SEED).integers(0, len(given), (RESAMPLES, len(given)))
    low, high = np.quantile(given[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _interval_words(dice: list[float]) -> tuple[str, str]:
    """The interval behind the mean, and the sentence that explains it."""
    if len(dice) < 2:
        return "", "One case gives no interval."
    low, high = bootstrap_interval(dice)
    return (
        f" ({LEVEL:.0%} interval {low:.4f} to {high:.4f})",
        f"The interval is a bootstrap over these {len(dice)} cases; with few of them, too narrow.",
    )


def _seen(input_slices: int) -> str:
    return "one slice at a time" if input_slices == 1 else f"{input_slices} slices at a time"
