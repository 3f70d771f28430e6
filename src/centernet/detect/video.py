"""Videos, frame by frame."""

import os
from typing import Any, Iterator, NamedTuple, Optional, Tuple

import cv2
import numpy as np

from ..errors import DataError, OutputError
from ..files import display_path

#: by suffix, the codecs to try; the others become .mp4
_CODECS = {
    '.avi': ('MJPG',),
    '.mp4': ('mp4v',),
    '.mov': ('mp4v',),
    '.m4v': ('mp4v',),
    '.mkv': ('mp4v', 'MJPG'),
}


class Frame(NamedTuple):
    """A frame: its number in the video, from 0, its time in seconds, and uint8 [H, W, 3], BGR."""

    number: int
    seconds: float
    picture: np.ndarray


class VideoReader:
    """A video's frames in order, one in memory at a time.

    Args:
        path: the file.
        fps: frames per second to take; None for all.

    Attributes:
        fps: frames per second that are given.
        count: how many frames there will be, as the file says; None if it does not.

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
        self._rate = rate if rate and np.isfinite(rate) and 0 < rate < 1000 else 25.0
        self.fps = min(fps, self._rate) if fps else self._rate
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(np.ceil(count * self.fps / self._rate)) if 0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Frame]:
        taken, number = 0, -1
        while self._capture.grab():
            number += 1
            if number * self.fps < taken * self._rate - 1e-6:
                continue
            decoded, picture = self._capture.retrieve()
            if not decoded:
                break
            taken += 1
            yield Frame(number, number / self._rate, picture)
        if number < 0:
            raise DataError(f'the video file {display_path(self.path)} has no frame that can be decoded')

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class VideoWriter:
    """A video that appears under its name when it is finished.

    Args:
        path: the file; its folder exists. Another suffix than those that can be written becomes ``.mp4``.
        fps: frames per second.

    Attributes:
        path: the file that is written.
    """

    def __init__(self, path: str, fps: float) -> None:
        stem, suffix = os.path.splitext(path)
        self._suffix = suffix.lower() if suffix.lower() in _CODECS else '.mp4'
        self.path = path if self._suffix == suffix.lower() else path + self._suffix
        self._part = f'{stem}.part{os.getpid()}{self._suffix}'
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
            f'cannot write {display_path(self.path)}: OpenCV has no codec for {self._suffix} here, or the'
            ' folder cannot be written; use --save pictures'
        )

    def close(self) -> Optional[str]:
        """Finish the file; returns its path, or None if nothing was added."""
        if self._writer is None:
            return None
        self._writer.release()
        self._writer = None
        try:
            os.replace(self._part, self.path)
        except OSError as error:
            raise OutputError(f'cannot write {display_path(self.path)}: {error.strerror}') from None
        return self.path

    def discard(self) -> None:
        """Remove what was written."""
        if self._writer is not None:
            self._writer.release()
        if os.path.exists(self._part):
            os.unlink(self._part)
