"""Predict: a network over a source of images, into the journal of a run."""

import contextlib
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
from tqdm import tqdm

from ..coco import to_results
from ..detection import RawBoxes, decode, merge, mirror, postprocess
from ..networks.network import Network, array_in_words
from ..options.fields import of_values
from ..options.protocol import Protocol
from ..system.errors import Interrupted, OptionError, OutputError
from ..system.files import display_path
from .batches import Batch, load_pictures
from .journal import Finished
from .run import Run
from .sources import Source
from .timings import ImageTimes, StageClock, warm_up_batches


class Predicted(NamedTuple):
    """A batch that went through the network. ``failures``: image id -> reason."""

    finished: List[Finished]
    failures: Dict[int, str]
    batch: Optional[Batch] = None


#: (total, finished earlier) -> an object with ``update(n)`` and ``close()``
MakeBar = Callable[[int, int], Any]


def predict(network: Network, source: Source, run: Run, make_bar: MakeBar, end: Any = None) -> None:
    """Detect the objects of all images of a source that the run has not finished, into its journal.

    Args:
        network: maps float32 [N, 3, H, W] to Heads or RawBoxes.
        source: the images, in order.
        run: whose record has the protocol and the loading.
        make_bar: for progress, see :func:`progress_bar`.
        end: gets each batch after it is in the journal, as :class:`Predicted`; for pictures to be drawn.

    Raises:
        OptionError: the network does not fit the source or the protocol.
        OutputError: the journal cannot be written.
        Interrupted: KeyboardInterrupt, SystemExit or the death of a process stopped the run; the journal is
            kept.
    """
    protocol = run.record.protocol
    check_network(network, source, protocol)
    count, batches = source.batches(run.record, run.finished)
    size = 1 if protocol.keep_res else run.record.loading.batch_size
    found = _predictions(network, batches, source.channels, protocol, size, warm_up_batches(count))
    keep(run, source, found, make_bar, end)


def keep(run: Run, source: Source, found: Iterator[Predicted], make_bar: MakeBar, end: Any = None) -> None:
    """Append predictions to the journal of a run as they come; arguments and errors as for :func:`predict`.

    Args:
        found: a generator; it is closed.
    """
    bar = make_bar(source.total, _done(run, source))
    try:
        with contextlib.closing(bar), contextlib.closing(found):
            for item in found:
                run.add(item.finished, item.failures)
                if end is not None:
                    end(item)
                bar.update(len(item.finished) + len(item.failures))
    except (KeyboardInterrupt, SystemExit) as error:
        raise Interrupted(_how_to_resume(run, source, 'interrupted')) from error
    except Interrupted as error:
        raise Interrupted(_how_to_resume(run, source, error)) from error
    except OutputError as error:
        raise OutputError(_how_to_resume(run, source, error)) from error
    run.check_exists()


def _done(run: Run, source: Source) -> int:
    """How many images of a source are finished."""
    if source.total is None:
        return len(run.finished)
    return sum(image_id in run.finished for image_id in source.ids)


def _how_to_resume(run: Run, source: Source, why: Any) -> str:
    """Say what stopped a run, how many images are finished, and how to continue."""
    total = '' if source.total is None else f' of {source.total}'
    return f'{why}: {_done(run, source)}{total} images are finished; the same command with --resume continues'


def progress_bar(wanted: bool) -> MakeBar:
    """Progress bars on stderr, if they are wanted and stderr is a terminal."""

    def make_bar(total: Optional[int], initial: int) -> Any:
        # tqdm computes its rate from this session only: images finished earlier took no time.
        return tqdm(
            total=total,
            initial=initial,
            unit='img',
            disable=None if wanted else True,
            file=sys.stderr,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    return make_bar


def check_network(network: Network, source: Source, protocol: Protocol) -> None:
    """Raise OptionError if the network does not fit the source or the protocol."""
    _check_protocol(network, protocol)
    if network.info.classes != len(source.channels):
        classes, name = network.info.classes, source.name
        raise OptionError(f'the network has {classes} classes, but {name} has {len(source.channels)}')


def _check_protocol(network: Network, protocol: Protocol) -> None:
    info = network.info
    if info.no_boxes:
        raise OptionError(f'cannot detect with {display_path(info.file)}: {info.no_boxes}')
    if protocol.flip_test and info.decodes:
        raise OptionError('the flip test averages heads: export the file without the decoder')


def _predictions(
    network: Network,
    batches: Iterator[Batch],
    channels: Sequence[Any],
    protocol: Protocol,
    size: int,
    warm_up: int,
) -> Iterator[Predicted]:
    start = time.perf_counter()
    with contextlib.closing(batches):
        for number, batch in enumerate(batches):
            clock = StageClock()
            detections = detect(network, batch, protocol, size, clock)
            results = [to_results(*found, channels) for found in zip(batch.ids, detections)]
            clock.stop('post')
            wall, start = 1000 * (clock.now - start), clock.now
            count = max(1, len(batch.ids))  # the times of a batch are divided equally among its images
            shared = {stage: milliseconds / count for stage, milliseconds in clock.stages.items()}
            times = [
                ImageTimes(*loaded, wall=wall / count, warm_up=number < warm_up, **shared)
                for loaded in batch.times
            ]
            finished = list(map(Finished, batch.ids, results, times, batch.sizes))
            yield Predicted(finished, batch.failures, batch)


def detect(
    network: Network, batch: Batch, protocol: Protocol, size: int, clock: StageClock
) -> List[np.ndarray]:
    """Detect the objects of a batch: network, decode, postprocess and merge.

    Args:
        network: see :func:`predict`.
        batch: preprocessed images.
        protocol: how.
        size: a smaller batch is filled up to it.
        clock: the time is added to its stages ``net``, ``dec`` and ``post``.

    Returns:
        One float32 [m, 6] per image: x1, y1, x2, y2 in image pixels, score, class index.
    """
    per_image: List[List[np.ndarray]] = [[] for _ in batch.ids]
    for groups in batch.scales:
        for group in groups:
            heads = _run_filled(network, group.images, size)
            flipped = _run_filled(network, mirror(group.images), size) if protocol.flip_test else None
            clock.stop('net')
            raw = heads if isinstance(heads, RawBoxes) else decode(heads, flipped, protocol.max_detections)
            raw = type(raw)(*(part.cpu() for part in raw))
            clock.stop('dec')
            for position, found in zip(group.positions, postprocess(raw, group.geometries)):
                per_image[position].append(found)
            clock.stop('post')
    nothing = np.zeros((0, 6), np.float32)
    detections = [
        merge(found, protocol.nms, protocol.max_detections) if found else nothing for found in per_image
    ]
    clock.stop('post')
    return detections


def _run_filled(network: Network, images: np.ndarray, size: int) -> Any:
    """Run a batch, filled with empty images up to ``size``.

    Libraries choose the order of their sums by the number of images, so that the last, smaller batch of a run
    would have other detections than the same images in the middle of it: a run in parts would differ from one
    in one go.
    """
    count = len(images)
    if count >= size:
        return network(images)
    filled = np.zeros((size,) + images.shape[1:], images.dtype)
    filled[:count] = images
    outputs = network(filled)
    return type(outputs)(*(output if output is None else output[:count] for output in outputs))


def detect_images(network: Network, images: Any, score: float, options: Dict[str, Any]) -> List[np.ndarray]:
    """Detect objects on images in memory; see :func:`centernet.face.detect`."""
    several = isinstance(images, (list, tuple)) or getattr(images, 'ndim', 0) == 4
    pictures = list(images) if several else [images]
    for picture in pictures:
        shape = picture.shape if getattr(picture, 'dtype', None) == np.uint8 else ()
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise OptionError(
                'detect takes uint8 arrays [H, W, 3] with the channels blue, green, red, as from'
                f' cv2.imread, not {array_in_words(picture)}'
            )
    (protocol,) = of_values('detect', options, Protocol)
    protocol = protocol.for_network(network.info, str(network.info.file))
    _check_protocol(network, protocol)
    found = []
    for picture in pictures:
        batch = load_pictures([(0, picture)], protocol.input, protocol.test_scales)
        (boxes,) = detect(network, batch, protocol, 1, StageClock())
        boxes = boxes[boxes[:, 4] >= score]
        found.append(boxes[np.argsort(-boxes[:, 4], kind='stable')])
    return found
