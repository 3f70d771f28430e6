"""Evaluate the outputs of a device: straight into the journal of a run, without a network."""

import itertools
import logging
import os
import time
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence

import attr

from ..coco import CocoData, to_results
from ..detection import decode, merge, postprocess
from ..networks.network import Network, NetworkInfo
from ..options.fields import to_words
from ..options.selection import NetworkOptions, Selection
from ..runs.evaluate import conclude, evaluate, record_of
from ..runs.journal import Finished
from ..runs.plan import Plan, open_network_of
from ..runs.predict import Predicted, keep, progress_bar
from ..runs.record import OUTPUTS, Data, Environment, Record
from ..runs.run import Run
from ..runs.score import Score
from ..runs.sources import DataSource
from ..runs.timings import ImageTimes, StageClock, warm_up_batches
from ..sample import SAMPLE_WEIGHTS
from ..system.errors import DataError
from ..system.files import sha256
from ..system.precision import FP32
from ..verification.verify import same_run
from .judge import Judgement, judge, write_comparison
from .manifest import Manifest
from .outputs import Outputs

_log = logging.getLogger(__name__)
#: images that are journaled at once
_BATCH = 8
#: folder of the checkpoint's own evaluation
REFERENCE_RUN = 'reference'


class Judged(NamedTuple):
    """Evaluated outputs. ``files``: that were written."""

    evaluation: Score
    judgement: Judgement
    files: List[str]

    @property
    def exit_status(self) -> int:
        """1 if outputs are missing or damaged, or the device does not run the same model."""
        return self.evaluation.exit_status or int(not self.judgement.passed)


def describe_run(outputs: Outputs, data: CocoData, plan: Plan) -> Record:
    """The record of a device's run.

    Args:
        outputs: of the device.
        data: the data set, with the network's channels.
        plan: what the user asked for.

    Raises:
        DataError: the selected images are not among the inputs.
    """
    manifest, folder = outputs.manifest, os.path.abspath(outputs.folder)
    order = ['--order', ','.join(outputs.given)] if outputs.given else []
    words = ['--manifest', manifest.path, *order, *to_words(plan.data), *to_words(plan.selection)]
    info = NetworkInfo(
        file=folder,
        sha256=manifest.sha256,
        entry=' '.join([folder, *order[1:]]),
        arch=manifest.record.network.arch,
        heads=manifest.heads,
        runtime=OUTPUTS,
        device='elsewhere',
        metadata=dict(zip(words[::2], words[1::2])),
    )
    wanted, recorded = plan.protocol, manifest.record
    return attr.evolve(
        recorded,
        network=info,
        data=Data.of(data, recorded.data.sample, recorded.data.categories),
        protocol=attr.evolve(recorded.protocol, nms=wanted.nms, max_detections=wanted.max_detections),
        selection=Selection(ids=tuple(manifest.select(plan.selection))),
        loading=attr.evolve(plan.loading, batch_size=plan.loading.batch_size or _BATCH),
        environment=Environment.here(info),
    )


def open_reference(options: NetworkOptions, manifest: Manifest, wanted: bool = True) -> Optional[Network]:
    """The checkpoint that the inputs are for, if it is known and wanted.

    Raises:
        DataError: it is missing.
        OptionError: it is another one.
    """
    recorded, weights = manifest.record.network, options.weights
    if not weights and recorded.sha256 == sha256(SAMPLE_WEIGHTS):
        weights = SAMPLE_WEIGHTS
    if weights:
        if not os.path.exists(weights):
            raise DataError(f'no such checkpoint: {weights}')
        manifest.check_weights(weights)
    elif wanted:
        _log.info('no --weights: the COCO metrics are not compared with those of the checkpoint')
    if not (weights and wanted):
        return None
    arch, entry = options.arch or recorded.arch, options.weights_key or recorded.entry
    return open_network_of(attr.evolve(options, arch=arch, weights_key=entry, precision=FP32), weights)


def evaluate_outputs(
    outputs: Outputs,
    data: CocoData,
    record: Record,
    folder: str,
    reference: Optional[Network] = None,
    precision: str = 'auto',
    resume: bool = False,
    delete: bool = False,
    progress: bool = True,
    pages: Any = None,
) -> Judged:
    """Evaluate a device's outputs, and compare them with the checkpoint.

    Args:
        outputs, data, record: see :func:`describe_run`.
        folder: of the run; the checkpoint's own run is kept in ``reference`` in it.
        reference: the checkpoint, if its metrics are compared.
        precision: see :func:`.judge.judge`.
        resume: go on with the run in the folder. What is still there is read again, as it may have been
            replaced; with ``delete``, what is not there was evaluated and removed.
        delete: remove outputs once their images are in the journal; those of the reference images are kept.
        progress: show a progress bar on stderr.
        pages: as for :func:`~centernet.runs.evaluate.evaluate`.
    """
    ids = record.selection.ids or ()
    source = DataSource(data, ids)

    def end(item: Predicted) -> None:
        if delete:
            outputs.remove(finished.image_id for finished in item.finished)

    with Run.begin(folder, record, resume, source.paths()) as run:
        for image_id in ids:
            if not delete or outputs.has(image_id):
                run.finished.pop(image_id, None)
        todo = [image_id for image_id in ids if image_id not in run.finished]
        keep(run, source, predictions(outputs, todo, record, data.channels), progress_bar(progress), end)
        found = conclude(run, data)
        metrics = None
        if reference is not None:
            done = tuple(found.image_ids)
            metrics = _reference_run(reference, data, record, done, folder, progress).metrics
        judgement = judge(outputs, found, metrics, precision)
        files = [*found.files, write_comparison(run, judgement)]
        if pages is not None:
            files += pages(run, data, found.document)
    return Judged(found, judgement, files)


def predictions(
    outputs: Outputs, ids: Sequence[int], record: Record, channels: Sequence[Any]
) -> Iterator[Predicted]:
    """Decode the outputs for these images, in batches for the journal; what is missing or damaged is in their
    ``failures``."""
    size, protocol = record.loading.batch_size, record.protocol
    warm_up, arriving = warm_up_batches(-(-len(ids) // size)), outputs.arrive(ids)
    start = time.perf_counter()
    for number, items in enumerate(iter(lambda: list(itertools.islice(arriving, size)), [])):
        finished = []
        for item in items:
            if item.heads is None:
                continue
            clock = StageClock()
            raw = decode(item.heads, None, protocol.max_detections)
            clock.stop('dec')
            boxes = merge(postprocess(raw, [item.image.geometry]), protocol.nms, protocol.max_detections)
            results = to_results(item.image.id, boxes, channels)
            clock.stop('post')
            wall, start = 1000 * (clock.now - start), clock.now
            times = ImageTimes(item.milliseconds, 0.0, wall=wall, warm_up=number < warm_up, **clock.stages)
            height, width = (int(2 * side) for side in reversed(item.image.geometry.centre))
            finished.append(Finished(item.image.id, results, times, (height, width)))
        yield Predicted(finished, {item.image.id: item.failure for item in items if item.failure})


def _reference_run(
    network: Network, data: CocoData, record: Record, ids: Sequence[int], folder: str, progress: bool
) -> Score:
    """Evaluate the checkpoint on the same images; what an earlier run has finished is kept."""
    selection, where = Selection(ids=tuple(ids)), os.path.join(folder, REFERENCE_RUN)
    loading = attr.evolve(record.loading, workers=record.loading.workers or 0, save_images=0)
    about = record.data.sample, record.data.categories
    wanted = record_of(network, data, record.protocol, selection, loading, *about)
    return evaluate(network, data, wanted, where, same_run(where, wanted), progress)
