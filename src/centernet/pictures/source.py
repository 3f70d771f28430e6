"""Pictures and videos as the source of a run."""

import hashlib
import itertools
import json
from typing import Any, Container, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..runs.batches import Batch, LoadTimes, load_pictures, make_loader, plan_batches
from ..runs.record import Data, Record
from ..runs.sources import Source
from ..system.errors import DataError
from .find import File
from .video import VideoReader

#: The frames of the video i, from 0, have the ids from (i + 1) * _VIDEO + 1 on. Its own id stands for its end
#: in the journal, or for why it cannot be read. A video without an end is read again when a run is resumed.
_VIDEO = 10**9


class Place(NamedTuple):
    """What an id stands for: the file, and for a frame its number, from 0."""

    file: File
    frame: Optional[int] = None


class PictureSource(Source):
    """Pictures, then the frames of videos.

    Args:
        files: the pictures and videos.
        class_names: by channel of the network.
        fps: frames per second to take of videos; None for all.
    """

    def __init__(
        self, files: Sequence[File], class_names: Sequence[str], fps: Optional[float] = None
    ) -> None:
        self.pictures = [file for file in files if not file.is_video]
        self.videos = [file for file in files if file.is_video]
        self.fps = fps
        self.name = 'the list of classes'
        self.channels = tuple(enumerate(class_names, start=1))
        self.ids = range(1, len(self.pictures) + 1)
        self.total = None if self.videos else len(self.pictures)
        self._rates: Dict[File, Tuple[float, float]] = {}

    def describe(self) -> Data:
        """The data of the run's record."""
        names = [[file.name for file in files] for files in (self.pictures, self.videos)]
        digest = hashlib.sha256(json.dumps([names, self.fps]).encode('utf-8')).hexdigest()
        return Data(sha256=digest, channels=self.channels)

    def paths(self) -> Iterable[str]:
        return [file.path for file in self.pictures + self.videos]

    def place(self, image_id: int) -> Place:
        """Return what an id stands for."""
        video, frame = divmod(image_id, _VIDEO)
        return Place(self.videos[video - 1], frame - 1) if video else Place(self.pictures[image_id - 1])

    def frames(self, number: int, finished: Iterable[int]) -> List[int]:
        """The ids of a video's frames among those of finished images, in order."""
        first = end_of(number)
        return sorted(image_id for image_id in finished if first < image_id < first + _VIDEO)

    def rates(self, video: File) -> Tuple[float, float]:
        """Frames per second that a video has, and that are taken."""
        if video not in self._rates:
            with VideoReader(video.path, self.fps) as reader:
                self._rates[video] = reader.rate, reader.fps
        return self._rates[video]

    def batches(self, record: Record, finished: Container[int]) -> Tuple[int, Iterator[Batch]]:
        files = enumerate(self.pictures, start=1)
        todo = [(number, file.path) for number, file in files if number not in finished]
        planned = plan_batches(todo, record.loading.batch_size)
        return len(planned), self._load(record, planned, finished)

    def _load(self, record: Record, planned: List[List[Any]], finished: Container[int]) -> Iterator[Batch]:
        spec, scales = record.protocol.input, record.protocol.test_scales
        yield from make_loader(planned, spec, scales, record.loading.workers)
        for number, video in enumerate(self.videos):
            own = end_of(number)
            if own not in finished:
                try:
                    yield from self._frames(video, own, record)
                    yield Batch([own], [LoadTimes(0, 0)], [(0, 0)], [], {})
                except DataError as error:
                    yield Batch([], [], [], [], {own: str(error)})

    def _frames(self, video: File, own: int, record: Record) -> Iterator[Batch]:
        spec, scales = record.protocol.input, record.protocol.test_scales
        with VideoReader(video.path, self.fps) as reader:
            read = iter(reader)
            for frames in iter(lambda: list(itertools.islice(read, record.loading.batch_size)), []):
                yield load_pictures([(own + 1 + number, picture) for number, picture in frames], spec, scales)
            reader.check_end()


def end_of(number: int) -> int:
    """The id that stands for the end of a video."""
    return (number + 1) * _VIDEO


def is_frame(image_id: int) -> bool:
    """Whether an id is that of a frame."""
    return image_id > _VIDEO and image_id % _VIDEO > 0


def is_end(image_id: int) -> bool:
    """Whether an id is that of a video, and stands for its end."""
    return image_id >= _VIDEO and image_id % _VIDEO == 0
