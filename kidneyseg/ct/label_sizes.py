"""How large kidneys and tumours are: read from each label map once, remembered by its content.

Of all cases, those that become test cases too: it is read before the split is known, which is
stratified by these sizes, and gives nothing else. One that cannot be read stops the command.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from kidneyseg.ct.case_processes import each_case, file_bytes
from kidneyseg.ct.fingerprints import CaseFingerprint
from kidneyseg.ct.process_pool import count_processes
from kidneyseg.ct.volumes import read_labels
from kidneyseg.files import write_text
from kidneyseg.settings import DataSettings, Part

MEMORY_EACH = 2**30  # bytes for one process; the largest label map of KiTS19 takes half of it
MANY_BYTES = 2**22  # of label maps; fewer are read before processes have started
SLICE_CLASSES_MM = (2.0, 4.0)  # KiTS19: 56 cases below, 66 between, 88 above
TUMOR_CLASSES_ML = (10.0, 100.0)  # of 59 cases of KiTS19: 21 below, 26 between, 12 above


class LabelSizes(Part):
    """The sizes of a label map's labels."""

    voxels: dict[int, int]  # of each label but 0
    voxel_ml: float
    slice_mm: float

    def tumor_ml(self, settings: DataSettings) -> float:
        """The volume of all tumours."""
        return self._count(settings.tumor_labels) * self.voxel_ml

    def tumor_fraction(self, settings: DataSettings) -> float:
        """The share of tumour in kidney and tumour; 0 where there is neither."""
        both = self._count({*settings.kidney_labels, *settings.tumor_labels})
        return self._count(settings.tumor_labels) / both if both else 0.0

    def stratum(self, settings: DataSettings) -> tuple[int, int]:
        """The class of its slice thickness and the class of its tumours' volume."""
        return (
            int(np.searchsorted(SLICE_CLASSES_MM, self.slice_mm, side="right")),
            int(np.searchsorted(TUMOR_CLASSES_ML, self.tumor_ml(settings), side="right")),
        )

    def _count(self, labels: Sequence[int] | set[int]) -> int:
        return sum(self.voxels.get(label, 0) for label in labels)


@dataclass(frozen=True, slots=True)
class LabelSizeMemory:
    """Label sizes, remembered in `folder`."""

    folder: Path

    def of_cases(self, cases: Sequence[CaseFingerprint]) -> dict[str, LabelSizes]:
        """The sizes of each case by its name; label maps not yet known are read.

        Raises DataError for one that cannot be read.
        """
        sizes = {case.case.name: self._remembered(case) for case in cases}
        unknown = [case for case in cases if sizes[case.case.name] is None]
        many = sum(file_bytes(case.case.segmentation) for case in unknown) > MANY_BYTES
        n_processes = count_processes(len(unknown), MEMORY_EACH) if many else 1
        with closing(each_case(self.measure, unknown, n_processes, MEMORY_EACH)) as measured:
            sizes |= dict(measured)
        return {name: known for name, known in sizes.items() if known is not None}

    def measure(self, case: CaseFingerprint) -> tuple[str, LabelSizes]:
        """Read a case's label map and remember its sizes; return the case's name with them."""
        volume = read_labels(case.case.segmentation)
        voxels = volume.array.ravel(order="K")
        labels, counts = np.unique(voxels[voxels > 0], return_counts=True)
        sizes = LabelSizes(
            voxels=dict(zip(labels.tolist(), counts.tolist(), strict=True)),
            voxel_ml=volume.geometry.voxel_ml,
            slice_mm=volume.geometry.spacing_mm[0],
        )
        write_text(self._file(case), sizes.model_dump_json())
        return case.case.name, sizes

    def _remembered(self, case: CaseFingerprint) -> LabelSizes | None:
        try:
            return LabelSizes.model_validate_json(self._file(case).read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError):
            return None

    def _file(self, case: CaseFingerprint) -> Path:
        return self.folder / f"{case.segmentation}.json"
