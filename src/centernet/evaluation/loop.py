"""The loop over a data set, for any runner."""

import contextlib
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
from tqdm import tqdm

from ..coco import CocoData, to_results
from ..detection import InputSpec, RawBoxes, decode, merge, mirror, postprocess
from ..errors import DataError, Interrupted, OptionError, OutputError
from ..files import display_path, ensure_folder, sha256
from ..processes import ProcessError
from ..provenance import versions
from .eval_options import EvalOptions, check, protocol, select
from .journal import Journal
from .journal_file import Record
from .loader import Batch, LoaderError, make_loader, plan_batches
from .summary import METRICS_NAME, RESULTS_NAME, Evaluation, Made, conclude
from .timings import ImageTimes, StageClock, warm_up_batches

#: image ids -> batches of what a runner takes in place of images; a generator, closed if it is not exhausted
Load = Callable[[List[int]], Iterator[Batch]]


def evaluate(
    runner: Callable,
    data: CocoData,
    options: EvalOptions,
    folder: str,
    resume: bool = False,
    progress: bool = True,
    load: Optional[Load] = None,
) -> Evaluation:
    """Evaluate a network on a data set; write results.json and metrics.json (and pictures) into ``folder``.

    Args:
        runner: maps float32 [N, 3, H, W] to Heads or RawBoxes; see :mod:`centernet.runners`.
        data: the data set.
        options: the protocol, the images, and how to load them.
        folder: the output folder; created if missing. During the run it contains a journal of the finished
            images, which stays there afterwards. results.json and metrics.json are written at the end; those
            of an earlier run are removed at the start.
        resume: continue the run whose journal is in ``folder``, instead of starting again.
        progress: show a progress bar on stderr.
        load: image ids -> their batches, for a runner that is fed with something else than images; None reads
            and preprocesses the images.

    Raises:
        OptionError: invalid options, a network whose number of classes differs from the data's, or a journal
            of a different run.
        DataError: requested images are not in the data set, or none of them can be read.
        OutputError: the output cannot be written, or the output folder was removed during the run.
        Interrupted: KeyboardInterrupt, SystemExit or the death of a process stopped the run; the journal is
            kept.
    """

    def make_bar(total: int, initial: int) -> Any:
        # tqdm computes its rate from this session only: images finished earlier took no time.
        return tqdm(
            total=total,
            initial=initial,
            unit='img',
            disable=None if progress else True,
            file=sys.stderr,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    with _Run(runner, data, options, folder, resume, load) as run:
        failed = run.finish(make_bar)
        run.journal.check_exists()
        finished = [image_id for image_id in run.image_ids if image_id in run.journal.finished]
        if not finished:
            raise DataError(
                f'none of the {len(failed)} images could be read; the first: {next(iter(failed.values()))}'
            )
        made = Made(
            runner.describe(),
            protocol(options),
            run.fingerprint['data']['annotations_sha256'],
            versions(),
            options.batch_size,
            options.workers,
            options.on_bad_image,
            options.save_images,
        )
        try:
            return conclude(run.journal, finished, failed, data, made, run.folder)
        except ProcessError as error:
            why = f'a process that computes the figures {error.how}'
            raise Interrupted(run.how_to_resume(why)) from error


def fill_journal(
    runner: Callable, data: CocoData, options: EvalOptions, folder: str, make_bar: Callable[[int, int], Any]
) -> None:
    """Evaluate images into the journal in ``folder`` and no further, continuing the journal that is there.

    Args:
        runner, data, options, folder: as for :func:`evaluate`.
        make_bar: (number of images, number of those that are finished already) -> an object with
            ``update(n)``, called when n more are finished, and ``close()``.

    Raises:
        As :func:`evaluate`.
    """
    with _Run(runner, data, options, folder, resume=True, load=None) as run:
        run.finish(make_bar)
        run.journal.check_exists()


class _Run:
    """An evaluation with its open journal; a context manager."""

    def __init__(
        self,
        runner: Callable,
        data: CocoData,
        options: EvalOptions,
        folder: str,
        resume: bool,
        load: Optional[Load],
    ) -> None:
        check(options)
        self.runner, self.data, self.options, self.load = runner, data, options, load
        self.image_ids = select(data, options)
        _check_runner(runner, data, options)
        self.folder = ensure_folder(folder)
        self.fingerprint = fingerprint(runner, data, options)
        derived = (METRICS_NAME, RESULTS_NAME)
        session = _session(runner, data, options)
        self.journal = Journal(self.folder, self.fingerprint, session, resume, derived)

    def __enter__(self) -> '_Run':
        return self

    def __exit__(self, *_: Any) -> None:
        self.journal.__exit__()

    def finish(self, make_bar: Callable[[int, int], Any]) -> Dict[int, str]:
        """Evaluate the images that are not finished; return image id -> reason for those that could not be
        read."""
        todo = [image_id for image_id in self.image_ids if image_id not in self.journal.finished]
        if not todo:
            return {}
        try:
            with contextlib.closing(make_bar(len(self.image_ids), len(self.image_ids) - len(todo))) as bar:
                return self._evaluate(todo, bar)
        except (KeyboardInterrupt, SystemExit) as error:
            raise Interrupted(self.how_to_resume('interrupted')) from error
        except LoaderError as error:
            raise Interrupted(self.how_to_resume(str(error))) from error
        except OutputError as error:
            raise OutputError(self.how_to_resume(str(error))) from error

    def how_to_resume(self, why: str) -> str:
        """Say what stopped the run, how many images are finished, and how to continue."""
        finished = sum(image_id in self.journal.finished for image_id in self.image_ids)
        return (
            f'{why}: {finished} of {len(self.image_ids)} images are finished (in'
            f' {display_path(self.journal.path)}); run the same command with --resume to continue'
        )

    def _evaluate(self, todo: List[int], bar: Any) -> Dict[int, str]:
        data, options, failed = self.data, self.options, {}
        batches = plan_batches(todo, _input_sizes(data, todo, options.input), options.batch_size)
        if self.load is None:
            files = [(image_id, data.file(image_id)) for image_id in todo]
            loader = make_loader(files, options.input, options.test_scales, batches, options.workers)
        else:
            loader = self.load(todo)
        warm_up = warm_up_batches(len(batches))
        with contextlib.closing(loader):
            start = time.perf_counter()
            for number, batch in enumerate(loader):
                clock = StageClock()
                detections = detect(self.runner, batch, options, clock)
                results = [
                    to_results(image_id, found, data.channels)
                    for image_id, found in zip(batch.ids, detections)
                ]
                clock.stop('post')
                wall, start = 1000 * (clock.now - start), clock.now
                records = _records(batch, results, clock.stages, wall, number < warm_up)
                self.journal.add(records, batch.failures)
                failed.update(batch.failures)
                bar.update(len(batch.ids) + len(batch.failures))
        return failed


def detect(runner: Callable, batch: Batch, options: EvalOptions, clock: StageClock) -> List[np.ndarray]:
    """Detect the objects of a batch: network, decode, postprocess and merge.

    Args:
        runner: see :func:`evaluate`.
        batch: preprocessed images.
        options: the protocol.
        clock: the time is added to its stages ``net``, ``dec`` and ``post``.

    Returns:
        One float32 [m, 6] per image: x1, y1, x2, y2 in image pixels, score, class index.
    """
    per_image = [[] for _ in batch.ids]
    size = 1 if options.input.keep_res else options.batch_size
    for groups in batch.scales:
        for group in groups:
            heads = _run_filled(runner, group.images, size)
            flipped = _run_filled(runner, mirror(group.images), size) if options.flip_test else None
            clock.stop('net')
            raw = heads if isinstance(heads, RawBoxes) else decode(heads, flipped, options.max_per_image)
            raw = type(raw)(*(part.cpu() for part in raw))
            clock.stop('dec')
            for position, found in zip(group.positions, postprocess(raw, group.geometries)):
                per_image[position].append(found)
            clock.stop('post')
    detections = [merge(found, options.nms, options.max_per_image) for found in per_image]
    clock.stop('post')
    return detections


def _run_filled(runner: Callable, images: Any, size: int) -> Any:
    """Run a batch, filled with empty images up to ``size``.

    Libraries choose the order of their sums by the number of images, so that the last, smaller batch of a run
    would have other detections than the same images in the middle of it: a run in parts would differ from one
    in one go.
    """
    count = len(images)
    if not isinstance(images, np.ndarray) or count >= size:
        return runner(images)
    filled = np.zeros((size,) + images.shape[1:], images.dtype)
    filled[:count] = images
    outputs = runner(filled)
    return type(outputs)(*(output if output is None else output[:count] for output in outputs))


def _records(
    batch: Batch, results: List[List[Dict[str, Any]]], stages: Dict[str, float], wall: float, warm_up: bool
) -> List[Record]:
    """Return the journal's records of a batch, whose times (ms) are divided equally among its images."""
    count = max(1, len(batch.ids))
    shared = {stage: milliseconds / count for stage, milliseconds in stages.items()}
    return [
        Record(
            image_id, found, ImageTimes(times.load, times.pre, wall=wall / count, warm_up=warm_up, **shared)
        )
        for image_id, found, times in zip(batch.ids, results, batch.times)
    ]


def _check_runner(runner: Callable, data: CocoData, options: EvalOptions) -> None:
    """Raise OptionError if the network does not fit the data or the options."""
    if options.flip_test and getattr(runner, 'decodes', False):
        raise OptionError(
            'the flip test averages heads, but this file contains the decoder and outputs boxes: export it'
            ' without the decoder'
        )
    if runner.classes != len(data.channels):
        raise OptionError(
            f'the network has {runner.classes} classes, but {data.annotations} has {len(data.channels)}'
            ' categories: they belong to different data sets'
        )


def fingerprint(runner: Callable, data: CocoData, options: EvalOptions) -> Dict[str, Any]:
    """Return what must be equal for a run to be resumed, and in all its shards."""
    return {
        'network': runner.identity(),
        'protocol': protocol(options),
        'data': {
            'annotations_sha256': sha256(data.annotations),
            'categories': [None if category is None else category[0] for category in data.channels],
        },
    }


def _session(runner: Callable, data: CocoData, options: EvalOptions) -> Dict[str, Any]:
    """Return what evaluates now, for the journal: with it, :func:`.merge.merge` needs no network."""
    return {
        'network': runner.describe(),
        'data': {
            'annotations': data.annotations,
            'images': data.images,
            'channels': [category and list(category) for category in data.channels],
        },
        'selection': {
            'ids': None if options.image_ids is None else list(options.image_ids),
            'limit': options.limit,
            'shard': str(options.shard),
        },
        'batch_size': options.batch_size,
        'workers': options.workers,
        'on_bad_image': options.on_bad_image,
        'versions': versions(),
    }


def _input_sizes(
    data: CocoData, image_ids: List[int], spec: InputSpec
) -> Optional[List[Optional[Tuple[int, int]]]]:
    """Return the input sizes that the annotations state, to group by: None for an image without a size, or
    None altogether if all images have the same input size."""
    if not spec.keep_res:
        return None
    sizes = [
        (data.entries[image_id].get('width'), data.entries[image_id].get('height')) for image_id in image_ids
    ]
    return [
        (width | spec.pad, height | spec.pad) if isinstance(width, int) and isinstance(height, int) else None
        for width, height in sizes
    ]
