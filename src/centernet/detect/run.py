"""The loop over pictures and the frames of videos."""

import contextlib
import os
import sys
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from tqdm import tqdm

from ..coco import read_image, to_results
from ..detection import preprocess
from ..drawing import Box, annotate, save_picture
from ..drawing.pictures import SUFFIXES
from ..errors import DataError, Interrupted, OptionError
from ..evaluation.eval_options import check
from ..evaluation.loader import Batch, Group, LoaderError, LoadTimes, make_loader
from ..evaluation.loop import detect
from ..evaluation.timings import StageClock
from ..files import display_path, ensure_folder
from .options import DetectOptions
from .output import PICTURES_NAME, Document
from .sources import Source
from .video import Frame, VideoReader, VideoWriter

Results = List[Dict[str, Any]]


class Detected(NamedTuple):
    """What was found. ``document``: the content of detections.json. ``failed``: name -> reason for files that
    could not be read. ``files``: the written ones. ``drawn``: how many pictures and videos were drawn."""

    document: Document
    failed: Dict[str, str]
    files: List[str]
    drawn: int

    @property
    def counts(self) -> Dict[str, int]:
        """Return how many objects of each class were found, the most frequent first."""
        names = {entry['id']: entry['name'] for entry in self.document.categories}
        counts: Dict[str, int] = {}
        for entry in self.document.annotations:
            name = names[entry['category_id']]
            counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def detect_files(
    runner: Callable,
    sources: Sequence[Source],
    class_names: Sequence[str],
    options: DetectOptions,
    folder: str,
    about: Optional[Dict[str, Any]] = None,
    progress: bool = True,
) -> Detected:
    """Detect objects; write detections.json, detections.csv, and pictures and videos with boxes.

    Args:
        runner: see :mod:`centernet.runners`.
        sources: pictures and videos.
        class_names: by channel of the network.
        options: how.
        folder: the output folder; created if missing.
        about: entries for ``info`` in detections.json.
        progress: show a progress bar on stderr.

    Raises:
        OptionError: invalid options.
        DataError: no file could be read.
        OutputError: a file cannot be written.
        Interrupted: stopped; the files are written for what is finished.
    """
    check(options.evaluation)
    if options.evaluation.flip_test and getattr(runner, 'decodes', False):
        raise OptionError(
            'the flip test averages heads, but this file contains the decoder and outputs boxes'
        )
    run = _Run(runner, class_names, options, ensure_folder(folder), about or {})
    stopped: Optional[BaseException] = None
    pictures = [source for source in sources if not source.is_video]
    videos = [source for source in sources if source.is_video]
    with tqdm(
        total=len(pictures) if not videos else None,
        unit='img',
        disable=None if progress else True,
        file=sys.stderr,
        dynamic_ncols=True,
        smoothing=0.05,
    ) as bar:
        try:
            run.pictures(pictures, bar)
            for video in videos:
                run.video(video, bar)
        except (KeyboardInterrupt, SystemExit, LoaderError) as error:
            stopped = error
    files = run.document.write(folder)
    if stopped is not None:
        what = str(stopped) if isinstance(stopped, LoaderError) else 'interrupted'
        raise Interrupted(
            f'{what}: {len(run.document.images)} pictures are finished, and in {display_path(files[0])}'
        ) from stopped
    if not run.document.images:
        raise DataError(f'no file could be read; the first: {next(iter(run.failed.values()))}')
    return Detected(run.document, run.failed, files, run.drawn)


class _Run:
    def __init__(self, runner, class_names, options, folder, about) -> None:
        self.runner, self.class_names, self.options, self.folder = runner, class_names, options, folder
        self.channels: List[Tuple[int, str]] = list(enumerate(class_names, start=1))
        self.document = Document(class_names, about)
        self.failed: Dict[str, str] = {}
        self.drawn = 0

    def pictures(self, sources: Sequence[Source], bar: Any) -> None:
        """Detect on pictures, which loader processes read ahead."""
        evaluation = self.options.evaluation
        size = evaluation.batch_size
        numbers = list(range(len(sources)))
        batches = [numbers[start : start + size] for start in numbers[::size]]
        files = [(number, source.path) for number, source in enumerate(sources)]
        loader = make_loader(files, evaluation.input, evaluation.test_scales, batches, evaluation.workers)
        with contextlib.closing(loader):
            for batch in loader:
                for number, results in zip(batch.ids, self._detect(batch)):
                    self._picture(sources[number], results)
                for number, reason in batch.failures.items():
                    self.failed[sources[number].name] = reason
                bar.update(len(batch.ids) + len(batch.failures))

    def video(self, source: Source, bar: Any) -> None:
        """Detect on the frames of a video, in order."""
        try:
            reader = VideoReader(source.path, self.options.fps)
        except DataError as error:
            self.failed[source.name] = str(error)
            return
        writer = None
        if self.options.save in (None, 'video'):
            writer = VideoWriter(self._target(source.name), reader.fps)
        number = len(self.document.videos) + 1
        self.document.videos.append({'id': number, 'name': source.name, 'fps': reader.fps})
        try:
            for frames in _in_batches(reader, self.options.evaluation.batch_size):
                for frame, results in zip(frames, self._detect(self._batch(frames))):
                    self._frame(source, number, frame, results, writer)
                bar.update(len(frames))
        except DataError as error:
            self.failed[source.name] = str(error)
        except BaseException:
            if writer is not None and not writer.close():
                writer.discard()
            raise
        finally:
            reader.close()
        if writer is not None and writer.close():
            self.drawn += 1

    def _batch(self, frames: Sequence[Frame]) -> Batch:
        evaluation = self.options.evaluation
        scales = []
        for scale in evaluation.test_scales:
            inputs = [preprocess(frame.picture, evaluation.input, scale) for frame in frames]
            images = np.stack([image for image, _ in inputs])
            scales.append([Group(list(range(len(frames))), images, [place for _, place in inputs])])
        return Batch(list(range(len(frames))), [LoadTimes(0, 0)] * len(frames), scales, {})

    def _detect(self, batch: Batch) -> List[Results]:
        """The detections of each image that are kept, in COCO's results format, the best first."""
        if not batch.ids:
            return []
        kept = []
        for found in detect(self.runner, batch, self.options.evaluation, StageClock()):
            results = [
                result
                for result in to_results(0, found, self.channels)
                if result['score'] >= self.options.score
                and (self.options.classes is None or result['category_id'] - 1 in self.options.classes)
            ]
            kept.append(sorted(results, key=lambda result: -result['score']))
        return kept

    def _picture(self, source: Source, results: Results) -> None:
        try:
            picture = read_image(source.path)
        except DataError as error:  # it was readable a moment ago
            self.failed[source.name] = str(error)
            return
        self.document.add(source.name, picture.shape[:2], results)
        if self.options.save in (None, 'pictures'):
            name = source.name if source.name.lower().endswith(SUFFIXES) else source.name + '.png'
            save_picture(self._target(name), self._draw(picture, results))
            self.drawn += 1

    def _frame(self, source: Source, video: int, frame: Frame, results: Results, writer: Any) -> None:
        more = {'video_id': video, 'frame_id': frame.number, 'seconds': round(frame.seconds, 3)}
        self.document.add(source.name, frame.picture.shape[:2], results, **more)
        if writer is not None:
            writer.add(self._draw(frame.picture, results))
        elif self.options.save == 'pictures':
            name = f'{source.name}/{frame.number:06d}.jpg'
            save_picture(self._target(name), self._draw(frame.picture, results))
            self.drawn += 1

    def _draw(self, picture: np.ndarray, results: Results) -> np.ndarray:
        boxes = []
        for result in results:
            x, y, width, height = result['bbox']
            corners = (x, y, x + width, y + height)
            boxes.append(Box(corners, result['category_id'] - 1, f' {result["score"]:.2f}'))
        return annotate(picture, boxes, self.class_names)

    def _target(self, name: str) -> str:
        path = os.path.join(self.folder, PICTURES_NAME, *name.split('/'))
        ensure_folder(os.path.dirname(path))
        return path


def _in_batches(frames: Any, size: int) -> Iterator[List[Frame]]:
    batch: List[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
