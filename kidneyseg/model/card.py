"""The model card: what a person should know before using a network."""

from kidneyseg.model.description import ModelDescription

_CARD = """# Kidney segmentation in CT: QuickNAT

Marks kidney (tumour included) in abdominal CT. A research tool: no medical device, and no
replacement for a radiologist. Look at every mask before you rely on it.

    kidneyseg predict --model . -i scan.nii.gz -o mask.nii.gz

## How well

Validation Dice **{dice:.4f}**, per volume, averaged over {n_cases} validation cases, on slices near
the kidney at training resolution, in epoch {epoch}. One number from one seed: the best of a search
is somewhat flattered by having been chosen. The test cases have not been looked at.

| case | Dice |
|---|---|
{cases}

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
    return _CARD.format(
        dice=validation.dice,
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


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
