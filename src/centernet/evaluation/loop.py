"""The loop over a data set, for any runner."""

import contextlib
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple

from tqdm import tqdm

from ..coco import CocoData, CocoMetrics, to_results
from ..coco import evaluate as coco_metrics
from ..detection import RawBoxes, decode, merge, mirror, postprocess
from ..errors import DataError, Interrupted, OptionError, OutputError
from ..files import ensure_folder, sha256
from ..provenance import versions
from . import summary
from .journal import Journal, Record
from .loader import Batch, LoaderError, make_loader, plan_batches
from .options import EvalOptions, check, protocol, select
from .timings import ImageTimes, summarise, warm_up_batches


class Evaluation(NamedTuple):
    """What :func:`evaluate` found.

    ``metrics``: COCO's figures. ``timings``: see :func:`centernet.evaluation.timings.summarise`. ``results``:
    all detections in COCO's results format, in the data set's order. ``failed``: image id -> why it could not
    be read. ``damaged``: image id -> what its decoder complained of; these count in the figures.
    ``document``: what metrics.json holds. ``files``: paths of what was written. ``exit_status``: 1 where
    images failed or are damaged and that was to count, else 0.
    """

    metrics: CocoMetrics
    timings: Dict[str, Any]
    results: List[Dict[str, Any]]
    failed: Dict[int, str]
    damaged: Dict[int, str]
    document: Dict[str, Any]
    files: List[str]
    exit_status: int


def evaluate(
    runner: Callable,
    data: CocoData,
    options: EvalOptions,
    folder: str,
    resume: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Run a network over a data set; writes results.json and metrics.json (and pictures) into ``folder``.

    Args:
        runner: maps float32 [N, 3, H, W] to Heads, or to RawBoxes; see :mod:`centernet.evaluation.runners`.
        data: the data set.
        options: the protocol, which images, how fast.
        folder: the output folder; made if it is missing. While the run lasts it holds a journal of the
            finished images, which stays; results.json and metrics.json are there only when it is done, those
            of an earlier run are removed first.
        resume: go on where the journal in ``folder`` ends, instead of starting again.
        progress: show a bar on stderr.

    Returns:
        The figures, times and detections.

    Raises:
        OptionError: options that mean nothing, a network with another number of classes than the data, or a
            journal of another run.
        DataError: images that were asked for are not in the data set, or not one of them can be read.
        OutputError: something cannot be written.
        Interrupted: KeyboardInterrupt, SystemExit or the loss of a loader process stopped the run; the
            journal is kept.
    """
    check(options)
    image_ids = select(data, options)
    if options.flip_test and getattr(runner, 'decodes', False):
        raise OptionError(
            'the flip test averages heads, but this file has a decoder and gives boxes: export it without'
        )
    if runner.classes != len(data.categories):
        raise OptionError(
            f'the network has {runner.classes} classes, but {data.annotations} has {len(data.categories)}'
            ' categories: they belong to different data sets'
        )
    folder = ensure_folder(folder)
    with Journal(
        folder, _fingerprint(runner, data, options), resume, (summary.METRICS_NAME, summary.RESULTS_NAME)
    ) as journal:
        todo = [image_id for image_id in image_ids if image_id not in journal.finished]
        try:
            failed = _run(runner, data, options, journal, image_ids, todo, progress)
            journal.keep()
        except (KeyboardInterrupt, SystemExit) as error:
            raise Interrupted(_how_to_go_on('interrupted', journal, image_ids)) from error
        except LoaderError as error:
            raise Interrupted(_how_to_go_on(str(error), journal, image_ids)) from error
        except OutputError as error:
            raise OutputError(_how_to_go_on(str(error), journal, image_ids)) from error
        finished = [journal.record(image_id) for image_id in image_ids if image_id in journal.finished]
        if not finished:
            raise DataError(
                f'none of the {len(failed)} images could be read; the first: {next(iter(failed.values()))}'
            )
        return _conclude(runner, data, options, folder, finished, failed)


def _run(runner, data, options, journal, image_ids, todo, progress):
    """Evaluate the images ``todo``; returns id -> why for those that could not be read."""
    if not todo:
        return {}
    failed = {}
    sizes = (
        [_input_size(data.coco.imgs[image_id], options.input) for image_id in todo]
        if options.input.keep_res
        else None
    )
    batches = plan_batches(todo, sizes, options.batch_size)
    loader = make_loader(
        [(image_id, data.file(image_id)) for image_id in todo],
        options.input,
        options.test_scales,
        batches,
        options.workers,
    )
    warm_up = warm_up_batches(len(batches))
    # tqdm's own rate and time left are of this session: images that a resumed run found finished cost
    # nothing.
    with contextlib.closing(loader), tqdm(
        total=len(image_ids),
        initial=len(image_ids) - len(todo),
        unit='img',
        disable=not progress,
        file=sys.stderr,
        dynamic_ncols=True,
        smoothing=0.05,
    ) as bar:
        start = time.perf_counter()
        for number, batch in enumerate(loader):
            failed.update(batch.failures)
            stages, detections = detect(runner, batch, options)
            results = [
                to_results(image_id, found, data.categories) for image_id, found in zip(batch.ids, detections)
            ]
            end = time.perf_counter()
            stages['post'] += 1000 * (end - stages.pop('end'))
            count = max(1, len(batch.ids))
            shared = {stage: value / count for stage, value in stages.items()}
            journal.add(
                [
                    Record(
                        image_id,
                        found,
                        ImageTimes(
                            load, pre, wall=1000 * (end - start) / count, warm_up=number < warm_up, **shared
                        ),
                        batch.damages.get(image_id),
                    )
                    for image_id, found, (load, pre) in zip(batch.ids, results, batch.times)
                ]
            )
            start = end
            bar.update(len(batch.ids) + len(batch.failures))
    return failed


def detect(runner: Callable, batch: Batch, options: EvalOptions):
    """The detections of a batch: network, decode, postprocess and merge.

    Returns:
        (stages, detections): milliseconds of the whole batch for ``net``, ``dec`` and ``post``, and under
        ``end`` the clock at the end of the last; and one float32 [m, 6] per image: x1, y1, x2, y2 in image
        pixels, score, class index.
    """
    clock = _Clock()
    per_image = [[] for _ in batch.ids]
    for groups in batch.scales:
        for group in groups:
            heads = runner(group.images)
            flipped = runner(mirror(group.images)) if options.flip_test else None
            clock.stop('net')
            raw = heads if isinstance(heads, RawBoxes) else decode(heads, flipped)
            raw = type(raw)(*(part.cpu() for part in raw))
            clock.stop('dec')
            for position, found in zip(group.positions, postprocess(raw, group.geometries)):
                per_image[position].append(found)
            clock.stop('post')
    detections = [merge(found, options.nms, options.max_per_image) for found in per_image]
    clock.stop('post')
    return dict(clock.stages, end=clock.last), detections


class _Clock:
    def __init__(self):
        self.stages = {'net': 0.0, 'dec': 0.0, 'post': 0.0}
        self.last = time.perf_counter()

    def stop(self, stage):
        """Count the time since the last stop to a stage."""
        now = time.perf_counter()
        self.stages[stage] += 1000 * (now - self.last)
        self.last = now


def _conclude(runner, data, options, folder, finished, failed):
    """Figures, files and the Evaluation of the finished images."""
    results = [result for record in finished for result in record.results]
    damaged = {record.image_id: record.damage for record in finished if record.damage}
    metrics = coco_metrics(data, results, [record.image_id for record in finished])
    timings = summarise([record.times for record in finished])
    document = {
        'metrics': metrics.stats,
        'per_class': metrics.per_class,
        'images': len(finished),
        'failed_images': {str(image_id): message for image_id, message in failed.items()},
        'damaged_images': {str(image_id): message for image_id, message in damaged.items()},
        'timings': timings,
        'protocol': protocol(options),
        'network': runner.describe(),
        'data': {'annotations': data.annotations, 'images': data.images},
        'batch_size': options.batch_size,
        'workers': options.workers,
        'versions': versions(),
    }
    drawn = summary.write_pictures(
        folder,
        data,
        {record.image_id: record.results for record in finished},
        [record.image_id for record in finished[: options.save_images]],
    )
    files = [summary.write_results(folder, results), summary.write_metrics(folder, document)] + drawn
    status = 1 if (failed or damaged) and options.on_bad_image == 'fail' else 0
    return Evaluation(metrics, timings, results, failed, damaged, document, files, status)


def _fingerprint(runner, data, options):
    return {
        'network': runner.identity(),
        'protocol': protocol(options),
        'data': {'annotations_sha256': sha256(data.annotations)},
    }


def _input_size(image, spec):
    """The input size that the annotations promise for an image, to group by; None where they do not say."""
    width, height = image.get('width'), image.get('height')
    if not isinstance(width, int) or not isinstance(height, int):
        return None
    return width | spec.pad, height | spec.pad


def _how_to_go_on(why, journal, image_ids):
    return (
        f'{why}: {sum(image_id in journal.finished for image_id in image_ids)} of {len(image_ids)} images are'
        f' finished, in {journal.path}; the same command with --resume evaluates the others'
    )
