"""What a check of a case can find: errors to mend, and notes of what is odd but right."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from itertools import groupby

from kidneyseg.errors import DataError


class Severity(StrEnum):
    """An error stops preparation or teaches the network something wrong; a note does neither."""

    ERROR = "error"
    NOTE = "note"


class Kind(Enum):
    """A kind of finding: its words, its severity and its cure."""

    MISSING = "missing file", Severity.ERROR, "fetch the case again, or take it away"
    UNREADABLE = (
        "unreadable file",
        Severity.ERROR,
        "mend the file's permissions or the disk; fetch it again",
    )
    DAMAGED = (
        "damaged file",
        Severity.ERROR,
        "fetch the file again; its size or checksum at the source shows when it is whole",
    )
    NOT_NIFTI = "not NIfTI-1", Severity.ERROR, "convert it to NIfTI-1, .nii or .nii.gz"
    VOXEL_TYPE = (
        "voxel type",
        Severity.ERROR,
        "store it as whole numbers (int16 for scans, uint8 for labels) or as real ones",
    )
    NOT_3D = "not 3-D", Severity.ERROR, "store the one volume to use as a file of its own"
    TOO_LARGE = (
        "absurd size",
        Severity.ERROR,
        "convert it again from its source: no CT has such a shape",
    )
    SPACING = (
        "spacing",
        Severity.ERROR,
        "convert it again from its source, with the scanner's spacing in the header",
    )
    SHEARED = (
        "sheared affine",
        Severity.ERROR,
        "resample scan and labels to right angles (a tilted gantry, for instance)",
    )
    NO_ORIENTATION = (
        "no orientation",
        Severity.ERROR,
        "convert it again from its source: without sform and qform nobody knows up from down",
    )
    NOT_AXIAL = (
        "not axial",
        Severity.ERROR,
        "use the study's axial series, or resample scan and labels to axial slices",
    )
    NOT_FINITE = (
        "NaN or infinite",
        Severity.ERROR,
        "convert the scan again from its source, or set these voxels to -1024",
    )
    NOT_HU = (
        "not HU",
        Severity.ERROR,
        "convert the scan again from its source with rescale slope and intercept, unwindowed",
    )
    GRID = "grids differ", Severity.ERROR, "label the scan on its own grid, or fetch both again"
    LABEL_VALUES = (
        "label values",
        Severity.ERROR,
        "store whole numbers; labels that were resampled need nearest neighbours",
    )
    UNKNOWN_LABELS = (
        "unknown labels",
        Severity.ERROR,
        "name what counts as kidney in data.kidney_labels, known others in data.other_labels",
    )
    NO_KIDNEY = "no kidney", Severity.ERROR, "label it, or take the case away"
    DUPLICATE = (
        "duplicate",
        Severity.ERROR,
        "take one away: parted by the split, it would tell the test what training saw",
    )
    OUT_OF_MEMORY = (
        "not checked",
        Severity.ERROR,
        "check it on a machine with more memory, with nothing else running",
    )

    LEFT_OUT = "left out", Severity.NOTE, "nothing, unless labels were meant to be there"
    WINDOWED = (
        "cut to a window",
        Severity.NOTE,
        "nothing while data.hu_window lies inside; the whole range is safer",
    )
    NOT_SQUARE = "not square", Severity.NOTE, "nothing: slices are padded or cropped to slice_size"
    QFORM_ONLY = "qform only", Severity.NOTE, "nothing here; other programs may ignore the qform"
    ONE_KIDNEY = "one kidney", Severity.NOTE, "nothing, unless the other is there and unlabelled"
    JOINED = "joined kidneys", Severity.NOTE, "nothing, unless the picture shows two"
    ACROSS_MIDLINE = (
        "across the midline",
        Severity.NOTE,
        "nothing; do not part left from right at the image's midline",
    )
    FIRST_SLICE = "first slice", Severity.NOTE, "nothing: the field of view ends in the kidney"
    LAST_SLICE = "last slice", Severity.NOTE, "nothing: the field of view ends in the kidney"
    LARGE_TUMOUR = (
        "large tumour",
        Severity.NOTE,
        "nothing; the report left such cases out (data.tumor_labels says which labels are tumour)",
    )

    def __init__(self, words: str, severity: Severity, cure: str) -> None:
        self.words = words
        self.severity = severity
        self.cure = cure


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found in one case."""

    case: str
    kind: Kind
    message: str  # one line: where, what, and what was expected

    @property
    def is_error(self) -> bool:
        """Whether it must be mended."""
        return self.kind.severity is Severity.ERROR

    def as_json(self) -> dict[str, str]:
        """What programs read."""
        return {
            "case": self.case,
            "severity": self.kind.severity.value,
            "kind": self.kind.words,
            "message": self.message,
            "cure": self.kind.cure,
        }


def sorted_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Findings by kind, errors first, and within a kind by case."""
    order = {kind: number for number, kind in enumerate(Kind)}
    return sorted(findings, key=lambda finding: (order[finding.kind], finding.case))


def findings_text(findings: Iterable[Finding]) -> str:
    """What a person reads: under each kind with its cure, the cases."""
    lines = []
    for kind, found in groupby(findings, key=lambda finding: finding.kind):
        lines.append(f"{kind.severity.value}: {kind.words}. Cure: {kind.cure}.")
        lines += [f"  {finding.case}  {finding.message}" for finding in found]
    return "\n".join(lines)


class CaseError(DataError):
    """A case that cannot be used, and what kind of error it is."""

    def __init__(self, message: str, kind: Kind = Kind.UNREADABLE) -> None:
        super().__init__(message)  # the message alone, so that the error passes between processes
        self.kind = kind
