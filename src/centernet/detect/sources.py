"""The pictures and videos that the user names."""

import glob
import os
from typing import Iterator, List, NamedTuple, Sequence, Set

from ..errors import DataError, OptionError
from ..files import display_path

PICTURE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm', '.jp2')
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv')


class Source(NamedTuple):
    """A file. ``name``: its name in the output, with ``/``: relative to the folder that was named."""

    path: str
    name: str

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by its name."""
        return self.path.lower().endswith(VIDEO_SUFFIXES)


def find_sources(words: Sequence[str]) -> List[Source]:
    """Find pictures and videos.

    Args:
        words: files, folders (with their subfolders), patterns with ``*``, ``?`` or ``**``, and ``@FILE`` for
            a text file with one of these per line.

    Returns:
        Every file once, in the order of the words; those of a folder or pattern are sorted. Two files of one
        name get the names of their folders in front.

    Raises:
        OptionError: a word stands for no file.
        DataError: a text file cannot be read.
    """
    found: List[Source] = []
    seen: Set[str] = set()
    for word in words:
        some = False
        for source in _of_word(word):
            some = True
            real = os.path.realpath(source.path)
            if real not in seen:
                seen.add(real)
                found.append(source)
        if not some:
            raise OptionError(f'{word}: no pictures or videos there')
    return _with_different_names(found)


def _of_word(word: str) -> Iterator[Source]:
    if word.startswith('@'):
        for line in _lines(word[1:]):
            yield from _of_word(line)
    elif os.path.isdir(word):
        for folder, folders, names in os.walk(word):
            folders[:] = sorted(name for name in folders if not name.startswith('.'))
            for name in sorted(names):
                if name.lower().endswith(PICTURE_SUFFIXES + VIDEO_SUFFIXES) and not name.startswith('.'):
                    path = os.path.join(folder, name)
                    yield Source(path, os.path.relpath(path, word).replace(os.sep, '/'))
    elif os.path.exists(word):
        yield Source(word, os.path.basename(word))
    elif glob.has_magic(word):
        for path in sorted(glob.glob(word, recursive=True)):
            if os.path.isfile(path):
                yield Source(path, os.path.basename(path))
    else:
        raise OptionError(f'{display_path(word)} does not exist')


def _lines(path: str) -> List[str]:
    try:
        with open(path, encoding='utf-8') as file:
            return [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'it is not UTF-8 text'
        raise DataError(f'cannot read the list of files {display_path(path)}: {reason}') from None


def _with_different_names(sources: List[Source]) -> List[Source]:
    """Put folders in front of names, and if need be numbers, until they differ."""
    names: Set[str] = set()
    found = []
    for source in sources:
        name, folder = source.name, os.path.dirname(os.path.abspath(source.path))
        for _ in range(name.count('/')):
            folder = os.path.dirname(folder)
        while name.lower() in names and os.path.basename(folder):
            name, folder = f'{os.path.basename(folder)}/{name}', os.path.dirname(folder)
        names.add(name.lower())
        found.append(source._replace(name=name))
    return found
