"""What tests find on this machine, and what they do where it is not there.

Material that is not the project's lies beside the checkout, in `shared/data`, or where
KIDNEYSEG_KITS19_LABELS says. KIDNEYSEG_TEST_REQUIRE names, with commas, what must be here: without
it a test that needs it fails; without that variable it is skipped with the reason.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"
KITS19_LABELS = Path(os.environ.get("KIDNEYSEG_KITS19_LABELS", SHARED / "kits19-labels"))
REAL_CT = SHARED / "real-ct"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

needs_kits19_labels = pytest.mark.skipif(
    not KITS19_LABELS.is_dir(), reason=f"no label maps of KiTS19 in {KITS19_LABELS}"
)
needs_real_ct = pytest.mark.skipif(not REAL_CT.is_dir(), reason=f"no scans in {REAL_CT}")


def do_without(name: str, cure: str) -> NoReturn:
    """Skip a test for which something is not here, or fail it where it must be."""
    if name in os.environ.get("KIDNEYSEG_TEST_REQUIRE", "").split(","):
        pytest.fail(f"no {name} here, and KIDNEYSEG_TEST_REQUIRE asks for it: {cure}")
    pytest.skip(f"no {name} here: {cure}")


def find_program(name: str, *others: str) -> str:
    """A program's path by the first of its names that is here; else see `do_without`."""
    for each in (name, *others):
        if found := shutil.which(each):
            return found
    do_without(name, f"install {name}")
