"""The README as its reader goes through it: from an empty folder to masks and a report."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.docs.blocks import ROOT, is_run, read_blocks
from tests.docs.conftest import MakeShell

ADDRESS = "postgresql://kidneyseg:PASSWORD@db.example.org/trials"
STORAGE = "KIDNEYSEG_STORAGE="  # in the block whose database is PostgreSQL


@pytest.mark.slow
def test_the_readme_leads_from_nothing_to_masks_and_a_report(
    fresh_folder: Callable[[], Path], make_shell: MakeShell
) -> None:
    folder = fresh_folder()
    shell = make_shell(folder)
    for block in read_blocks(ROOT / "README.md"):
        if is_run(block, "sh") and STORAGE not in block.text:
            shell.run(block)
    for model in ("best", "best-kits19", "final", "model"):
        files = {path.name for path in (folder / model).iterdir()}
        assert files >= {"model.safetensors", "model.json", "README.md"}, model
    scan = nibabel.Nifti1Image.from_filename(
        folder / "runs" / "phantom" / "case_00000" / "imaging.nii.gz"
    )
    mask = nibabel.Nifti1Image.from_filename(folder / "mask.nii.gz")
    assert mask.shape == scan.shape
    assert np.array_equal(mask.affine, scan.affine)
    assert set(np.unique(np.asanyarray(mask.dataobj))) <= {0, 1}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "the best of 2 finished trials, reached a Dice of" in page
    (ledger,) = folder.glob("runs/splits/*/ledger.json")
    assert ledger.read_text(encoding="utf-8").count("weights") >= 1


@pytest.mark.slow
@pytest.mark.postgres
def test_the_readme_leads_through_postgresql(
    fresh_folder: Callable[[], Path],
    make_shell: MakeShell,
    database: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (block,) = [b for b in read_blocks(ROOT / "README.md") if STORAGE in b.text]
    folder = fresh_folder()
    make_shell(folder, **{ADDRESS: database}).run(block)
    assert "2 of 2 trials finished" in "".join(capfd.readouterr())
    assert not (folder / "runs" / "studies.db").exists()
    assert not (folder / "runs" / "batch").exists()
