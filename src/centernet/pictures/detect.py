"""Detect objects on pictures and videos: predict over them, then draw and list what was found."""

from collections import Counter
from typing import Dict, List, NamedTuple, Optional

import numpy as np

from ..coco import read_image
from ..drawing import Box, annotate, save_picture
from ..drawing.pictures import SUFFIXES
from ..networks.network import Network
from ..options.detect import DetectOptions, Results
from ..options.fields import to_json
from ..runs.journal import Finished
from ..runs.predict import Predicted, predict, progress_bar
from ..runs.record import Record
from ..runs.run import Run
from ..system.errors import DataError, Interrupted, OutputError
from .output import Document
from .source import PictureSource, end_of, is_end, is_frame
from .video import VideoReader, VideoWriter, part_of, video_name

#: the folder of what is drawn
PICTURES_NAME = 'pictures'


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
        counts = Counter(names[entry['category_id']] for entry in self.document.annotations)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def detect_files(
    network: Network,
    source: PictureSource,
    record: Record,
    options: DetectOptions,
    folder: str,
    resume: bool = False,
    progress: bool = True,
) -> Detected:
    """Detect objects; write detections.json, detections.csv, and pictures and videos with boxes.

    Args:
        network: the network.
        source: pictures and videos.
        record: of the run.
        options: what is kept and drawn.
        folder: the output folder; created if missing.
        resume: continue an interrupted run in the folder.
        progress: show a progress bar on stderr.

    Raises:
        OptionError: the network does not fit the options.
        DataError: no file could be read.
        OutputError: a file cannot be written.
        Interrupted: stopped; the files are written for what is finished.
    """
    with Run.begin(folder, record, resume, source.paths()) as run:
        drawing = Drawing(run, source, options)
        try:
            drawing.draw_finished()
            predict(network, source, run, progress_bar(progress), drawing)
        except (Interrupted, OutputError):
            if run.finished:
                _document(run, source, options).write(run)
            raise
        finally:
            drawing.close()
        failed = {source.place(key).file.name: reason for key, reason in run.failed.items()}
        failed.update(drawing.failed)
        document = _document(run, source, options)
        if not document.images:
            raise DataError(f'no file could be read; the first: {next(iter(failed.values()))}')
        return Detected(document, failed, document.write(run), drawing.count)


def _document(run: Run, source: PictureSource, options: DetectOptions) -> Document:
    """The content of detections.json, from the journal."""
    about = {'record': to_json(run.record), 'score': options.score}
    document = Document([name for _, name in source.channels], about)
    for image_id in source.ids:
        if image_id in run.finished:
            image = run.read(image_id)
            document.add(source.place(image_id).file.name, image.size, options.keep(image.results))
    for number, file in enumerate(source.videos):
        frames = source.frames(number, run.finished)
        if frames:
            rate, fps = source.rates(file)
            document.videos.append({'id': number + 1, 'name': file.name, 'fps': fps})
            for image_id in frames:
                image, frame = run.read(image_id), source.place(image_id).frame
                more = {'video_id': number + 1, 'frame_id': frame, 'seconds': round(frame / rate, 3)}
                document.add(file.name, image.size, options.keep(image.results), **more)
    return document


class Drawing:
    """Draws what was found on each picture and frame. ``count``: pictures and videos that were drawn.
    ``failed``: name -> reason for pictures that cannot be read any more."""

    def __init__(self, run: Run, source: PictureSource, options: DetectOptions) -> None:
        self.run, self.source, self.options = run, source, options
        self.class_names = [name for _, name in source.channels]
        self.count = 0
        self.failed: Dict[str, str] = {}
        self._writer: Optional[VideoWriter] = None

    def __call__(self, predicted: Predicted) -> None:
        """Draw a batch."""
        if any(map(is_end, predicted.failures)):  # of a video that cannot be read to its end
            self.close()
        pictures = predicted.batch.pictures
        for place, image in enumerate(predicted.finished):
            if is_end(image.image_id):
                self._end_video()
            elif is_frame(image.image_id):
                self._frame(image, pictures[place])
            else:
                self._picture(image)

    def draw_finished(self) -> None:
        """Draw what earlier sessions have finished: their drawings are gone, or may be of other options."""
        for image_id in self.source.ids:
            if image_id in self.run.finished:
                self._picture(self.run.read(image_id))
        for number, video in enumerate(self.source.videos):
            if end_of(number) in self.run.finished and self.options.save != 'none':
                frames = self.source.frames(number, self.run.finished)
                with VideoReader(video.path, self.source.fps) as reader:
                    for image_id, (_, picture) in zip(frames, reader):
                        self._frame(self.run.read(image_id), picture)
                self._end_video()

    def close(self) -> None:
        """Discard a video that is not finished."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def _picture(self, image: Finished) -> None:
        if self.options.save not in (None, 'pictures'):
            return
        file = self.source.place(image.image_id).file
        try:
            picture = read_image(file.path)
        except DataError as error:  # it was readable a moment ago
            self.failed[file.name] = str(error)
            return
        name = file.name if file.name.lower().endswith(SUFFIXES) else file.name + '.png'
        save_picture(self._target(name), self._draw(picture, image.results))
        self.count += 1

    def _frame(self, image: Finished, picture: np.ndarray) -> None:
        place = self.source.place(image.image_id)
        if self.options.save in (None, 'video'):
            if self._writer is None:
                name = video_name(place.file.name)
                self._target(part_of(name))  # so that it is removed after kill -9
                self._writer = VideoWriter(self._target(name), self.source.rates(place.file)[1])
            self._writer.add(self._draw(picture, image.results))
        elif self.options.save == 'pictures':
            save_picture(
                self._target(f'{place.file.name}/{place.frame:06d}.jpg'), self._draw(picture, image.results)
            )
            self.count += 1

    def _end_video(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self.count += 1

    def _draw(self, picture: np.ndarray, results: Results) -> np.ndarray:
        boxes = []
        for result in self.options.keep(results):
            x, y, width, height = result['bbox']
            corners = (x, y, x + width, y + height)
            boxes.append(Box(corners, result['category_id'] - 1, f' {result["score"]:.2f}'))
        return annotate(picture, boxes, self.class_names)

    def _target(self, name: str) -> str:
        return self.run.target(PICTURES_NAME, *name.split('/'))
