"""The data set that is used when none is named."""

from kidneyseg.cli.display import track
from kidneyseg.cli.telling import say
from kidneyseg.environment_files import with_folders
from kidneyseg.runs import Runs
from kidneyseg.settings import Environment


def with_data(environment: Environment) -> Environment:
    """The same environment with a data folder: the phantoms, made once, where none is named."""
    if environment.data.folder is not None:
        return environment
    from kidneyseg.phantom.data_set import DEMO_CASES, make_demo_phantoms

    folder = Runs(environment.common.runs).phantom
    say(f"no --data: using {DEMO_CASES} phantom scans in {folder}")
    if not folder.is_dir():
        for _ in track(make_demo_phantoms(folder), "phantom scans made", DEMO_CASES):
            pass
    return with_folders(environment, data=folder)
