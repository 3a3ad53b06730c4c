"""TensorBoard's table of trials, HParams: hyper-parameters beside the best Dice.

`tensorboard --logdir runs/<study>` finds one file of these in each trial's log, beside the writers
`training` and `validation`, whose numbers it shows: nothing is written twice.
"""

import time
from pathlib import Path

from optuna.trial import FrozenTrial, Trial, TrialState
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import (
    Discrete,
    Domain,
    HParam,
    IntInterval,
    Metric,
    RealInterval,
    hparams_config_pb,
    hparams_pb,
)
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from kidneyseg.search.ranges import Choice, FloatRange, IntRange
from kidneyseg.search.space import SearchSpace

SUFFIX = ".hparams"  # of the file
METRICS = (  # tag in the writer `validation`, and what people call it
    ("best_dice", "best validation Dice"),
    ("dice", "validation Dice, last epoch"),
    ("loss/combined", "validation loss, last epoch"),
)


def write_hparams(
    folder: Path, space: SearchSpace, trial: Trial | FrozenTrial, state: TrialState
) -> None:
    """Write what HParams shows of a trial that ends in `state` into the folder of its log.

    Written again, the file is replaced.
    """
    for old in folder.glob(f"*{SUFFIX}"):
        old.unlink()
    failed = state == TrialState.FAIL
    ended = SessionEndInfo(
        status=STATUS_FAILURE if failed else STATUS_SUCCESS, end_time_secs=time.time()
    )
    writer = EventFileWriter(str(folder), filename_suffix=SUFFIX)
    for summary in (
        _columns(space),
        hparams_pb(trial.params, trial_id=folder.parent.name, start_time_secs=_start(trial)),
        _summary(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=ended)),
    ):
        writer.add_event(Event(wall_time=time.time(), summary=summary))
    writer.close()


def _start(trial: Trial | FrozenTrial) -> float | None:
    start = trial.datetime_start  # without a zone, in this machine's
    return None if start is None else start.timestamp()


def _columns(space: SearchSpace) -> Summary:
    """What there is to show: any one trial's file tells it for all."""
    return hparams_config_pb(
        hparams=[HParam(name, _domain(range_)) for name, range_ in space.root.items()],
        metrics=[Metric(tag, group="validation", display_name=words) for tag, words in METRICS],
    )


def _domain(range_: FloatRange | IntRange | Choice) -> Domain:
    match range_:
        case FloatRange(low=low, high=high):
            return RealInterval(float(low), float(high))
        case IntRange(low=low, high=high):
            return IntInterval(low, high)
        case Choice(choices=choices):
            kinds = {type(choice) for choice in choices}
            # of values of several types TensorBoard takes none but text
            return Discrete(choices if len(kinds) == 1 else [str(choice) for choice in choices])


def _summary(tag: str, data: HParamsPluginData) -> Summary:
    value = Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return Summary(value=[value])
