"""An evaluation: predict, score and present, one after the other."""

import os
from typing import Any, Iterable, Optional

from ..coco import CocoData
from ..networks.network import Network
from ..options.protocol import Protocol
from ..options.selection import Loading, Selection
from .predict import check_network, predict, progress_bar
from .present import present
from .record import Data, Record
from .run import Run
from .score import Score, score
from .sources import DataSource


def record_of(
    network: Network,
    data: CocoData,
    protocol: Protocol,
    selection: Selection,
    loading: Loading,
    sample: bool = False,
    categories: Optional[Iterable[str]] = None,
) -> Record:
    """Describe an evaluation on this machine, with what the options leave open chosen for the network.

    Args:
        network, data, protocol, selection, loading: of the evaluation.
        sample: whether the data set is the built-in sample.
        categories: as the user gave them.
    """
    info = network.info
    protocol = protocol.for_network(info, info.file)
    images = len(selection.all_shards(data.image_ids, data.annotations))
    loading = loading.for_network(info, protocol, images)
    return Record.of(network, Data.of(data, sample, categories), protocol, selection, loading)


def evaluate(
    network: Network,
    data: CocoData,
    record: Record,
    folder: str,
    resume: bool = False,
    progress: bool = True,
    pages: Any = None,
) -> Score:
    """Evaluate a network on a data set; write results.json and metrics.json (and pictures) into ``folder``.

    Args:
        network: the network.
        data: the data set, with the network's channels.
        record: from :func:`record_of`.
        folder: the output folder; created if missing. It keeps a journal of the finished images.
        resume: continue the run whose journal is in ``folder``, instead of starting again.
        progress: show a progress bar on stderr.
        pages: see :func:`.present.present`.

    Raises:
        OptionError: a network whose number of classes differs from the data's, or a journal of a different
            run.
        DataError: requested images are not in the data set, or none of them can be read.
        OutputError: the output cannot be written, or the output folder was removed during the run.
        Interrupted: KeyboardInterrupt, SystemExit or the death of a process stopped the run; the journal is
            kept.
    """
    source = DataSource(data, record.selection.of(data.image_ids, data.annotations))
    check_network(network, source, record.protocol)
    with Run.begin(folder, record, resume, source.paths()) as run:
        predict(network, source, run, progress_bar(progress))
        return conclude(run, data, pages)


def conclude(run: Run, data: CocoData, pages: Any = None) -> Score:
    """Score and present a run whose images are finished; arguments as for :func:`evaluate`."""
    found = score(run, data)
    present(run, found, data, pages)
    return found


def open_coco(data: str, images: Optional[str] = None) -> CocoData:
    """Read a data set by its folder or its annotations file."""
    return CocoData.load(None, data, images) if os.path.isfile(data) else CocoData.load(data, None, images)
