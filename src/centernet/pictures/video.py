"""Videos, frame by frame."""

import os
from typing import Any, Iterator, Optional, Tuple

import cv2
import numpy as np

from ..system.errors import DataError, OutputError
from ..system.files import display_path

#: by suffix, the codecs to try; the others become .mp4
_CODECS = dict.fromkeys(('.mp4', '.mov', '.m4v'), ('mp4v',))
_CODECS.update({'.avi': ('MJPG',), '.mkv': ('mp4v', 'MJPG')})


class VideoReader:
    """A video's frames in order, one in memory at a time.

    Args:
        path: the file.
        fps: frames per second to take; None for all.

    Attributes:
        rate: frames per second of the file.
        fps: frames per second that are given.

    Raises:
        DataError: the file cannot be read as a video.
    """

    def __init__(self, path: str, fps: Optional[float] = None) -> None:
        self.path = path
        if not os.path.isfile(path):
            raise DataError(f'no such video file: {display_path(path)}')
        self._capture = cv2.VideoCapture(path)
        if not self._capture.isOpened():
            raise DataError(f'cannot decode the video file {display_path(path)}')
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if rate and np.isfinite(rate) and 0 < rate < 1000 else 25.0
        self.fps = min(fps, self.rate) if fps else self.rate
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._count = int(np.ceil(count * self.fps / self.rate)) if 0 < count < 1e9 else None
        self._taken = 0

    def __iter__(self) -> Iterator[Tuple[int, np.ndarray]]:
        """Each frame's number in the video, from 0, and its picture, uint8 [H, W, 3], BGR."""
        number = -1
        while self._capture.grab():
            number += 1
            if number * self.fps < self._taken * self.rate - 1e-6:
                continue
            decoded, picture = self._capture.retrieve()
            if not decoded:
                break
            self._taken += 1
            yield number, picture
        if number < 0:
            raise DataError(f'the video file {display_path(self.path)} has no frame that can be decoded')

    def check_end(self) -> None:
        """Raise DataError if clearly fewer frames came than the file says."""
        # The number of frames of some formats is a guess, but not the duration that it is guessed from.
        seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._count and max(self._taken + 1, seconds * self.fps) < 0.9 * self._count:
            raise DataError(
                f'the video file {display_path(self.path)} is cut short or damaged: only {self._taken} of'
                f' {self._count} frames can be decoded'
            )

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(self, *_: Any) -> None:
        self._capture.release()


def video_name(name: str) -> str:
    """The name of a drawn video: ``.mp4`` is appended to one whose format cannot be written."""
    return name if os.path.splitext(name)[1].lower() in _CODECS else name + '.mp4'


def part_of(name: str) -> str:
    """The name of a video that is not finished."""
    stem, suffix = os.path.splitext(name)
    return f'{stem}.part{suffix.lower()}'


class VideoWriter:
    """A video that appears under its name when it is finished.

    Args:
        path: the file, from :func:`video_name`; its folder exists.
        fps: frames per second.
    """

    def __init__(self, path: str, fps: float) -> None:
        self.path = path
        self._suffix = os.path.splitext(path)[1].lower()
        self._part = part_of(path)
        self._fps = fps
        self._writer: Any = None
        self._size: Optional[Tuple[int, int]] = None

    def add(self, picture: np.ndarray) -> None:
        """Append a picture; all are of the size of the first.

        Raises:
            OutputError: no codec here can write it.
        """
        height, width = picture.shape[:2]
        if self._writer is None:
            self._size = (width, height)
            self._writer = self._open()
        if (width, height) != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(picture)

    def _open(self) -> Any:
        for codec in _CODECS[self._suffix]:
            writer = cv2.VideoWriter(self._part, cv2.VideoWriter_fourcc(*codec), self._fps, self._size)
            if writer.isOpened():
                return writer
        raise OutputError(
            f'cannot write {display_path(self.path)}: no codec in OpenCV, or no access; use --save pictures'
        )

    def close(self) -> None:
        """Finish the file."""
        self._writer.release()
        try:
            os.replace(self._part, self.path)
        except OSError as error:
            raise OutputError(f'cannot write {display_path(self.path)}: {error.strerror}') from None

    def discard(self) -> None:
        """Remove what was written."""
        if self._writer is not None:
            self._writer.release()
        if os.path.exists(self._part):
            os.unlink(self._part)
