"""The pictures and videos that the user names."""

import glob
import os
from typing import Iterator, List, NamedTuple, Sequence, Set

from ..options.fields import read_list
from ..system.errors import OptionError
from ..system.files import display_path

PICTURE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm', '.jp2')
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv')


class File(NamedTuple):
    """A file. ``name``: its name in the output, with ``/``: relative to the folder that was named."""

    path: str
    name: str

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by its name."""
        return self.path.lower().endswith(VIDEO_SUFFIXES)


def find_files(words: Sequence[str]) -> List[File]:
    """Find pictures and videos.

    Args:
        words: files, folders (with their subfolders), patterns with ``*``, ``?`` or ``**``, and ``@FILE`` for
            a text file with one of these per line.

    Returns:
        Every file once, in the order of the words; those of a folder or pattern are sorted. Two files of one
        name get the names of their folders in front.

    Raises:
        OptionError: a word stands for no file, or a text file cannot be read.
    """
    found: List[File] = []
    seen: Set[str] = set()
    for word in words:
        files = list(_of_word(word))
        if not files:
            raise OptionError(f'{word}: no pictures or videos there')
        for file in files:
            real = os.path.realpath(file.path)
            if real not in seen:
                seen.add(real)
                found.append(file)
    return _with_different_names(found)


def _of_word(word: str) -> Iterator[File]:
    if word.startswith('@'):
        for line in read_list(word[1:], 'files').splitlines():
            if line.strip():
                yield from _of_word(line.strip())
    elif os.path.isdir(word):
        for folder, folders, names in os.walk(word):
            folders[:] = sorted(name for name in folders if not name.startswith('.'))
            for name in sorted(names):
                if name.lower().endswith(PICTURE_SUFFIXES + VIDEO_SUFFIXES) and not name.startswith('.'):
                    path = os.path.join(folder, name)
                    yield File(path, os.path.relpath(path, word).replace(os.sep, '/'))
    elif os.path.exists(word):
        yield File(word, os.path.basename(word))
    elif glob.has_magic(word):
        for path in sorted(glob.glob(word, recursive=True)):
            if os.path.isfile(path):
                yield File(path, os.path.basename(path))
    else:
        raise OptionError(f'{display_path(word)} does not exist')


def _with_different_names(sources: List[File]) -> List[File]:
    """Put folders in front of names until they differ."""
    names: Set[str] = set()
    found = []
    for file in sources:
        name, folder = file.name, os.path.dirname(os.path.abspath(file.path))
        for _ in range(name.count('/')):
            folder = os.path.dirname(folder)
        while name.lower() in names and os.path.basename(folder):
            name, folder = f'{os.path.basename(folder)}/{name}', os.path.dirname(folder)
        names.add(name.lower())
        found.append(file._replace(name=name))
    return found
