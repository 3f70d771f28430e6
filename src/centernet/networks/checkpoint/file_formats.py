"""The two file formats of ``torch.save``, the same on every torch.

- zip (torch >= 1.6): ``<name>/data.pkl``, the pickle; ``<name>/data/<key>``, one file for each storage;
  ``<name>/byteorder``.
- legacy: five pickles (a magic number, a protocol version, the system, the object, the list of storage keys),
  then for each key an int64 number of elements and the elements, little-endian.

``torch.load`` is not used. torch 1.0.0 cannot read zip files and has no ``weights_only``. With it, torch 2
refuses options and numpy numbers, and takes any memory that a legacy file claims, filled or not; without it,
it runs TorchScript programs.
"""

import functools
import operator
import os
import zipfile
from typing import Any, BinaryIO, Dict

import numpy as np
import torch

from .names import STORAGE_TYPES
from .unpickler import BUDGET, Inert, Pickles, Storage, Unpickler

#: the pickled magic number as it stands near the start of a legacy file, whatever the pickle's protocol
LEGACY_MAGIC = b'\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
_LEGACY_PROTOCOL = 1001
_MOST_DIMENSIONS = 16


class SavedFile:
    """A checkpoint in one of the formats.

    Attributes:
        saved: the saved object; its tensors are Inert. Every storage of it is in the file, with its size.

    Raises (from every method):
        RefusedError: the pickle calls a name that is not admitted, or is too large.
        ValueError, or any other exception: the file is truncated or damaged.
    """

    saved: Any = None

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        # All tensors together may have as many elements as the file has bytes, however they overlap.
        self._room = self._size
        self._arrays: Dict[str, np.ndarray] = {}

    def tensor(self, value: Inert) -> torch.Tensor:
        """Read a tensor: on the CPU, floating point as float32, bool as uint8.

        Tensors of one storage share its memory, unless they are converted.
        """
        storage, offset, size, stride = value.args[:4]
        self._room -= functools.reduce(operator.mul, size, 1)
        end = offset + 1 + sum((length - 1) * step for length, step in zip(size, stride))
        if (
            len(size) > _MOST_DIMENSIONS
            or min((self._room, offset, *size, *stride)) < 0
            or max(size, default=0) > self._size
            or (0 not in size and end > storage.count)
        ):
            raise ValueError(f'tensors do not fit into storage {storage.key}, or into the file')
        if storage.key not in self._arrays:
            self._arrays[storage.key] = self._array(storage)
        tensor = torch.from_numpy(self._arrays[storage.key]).as_strided(size, stride, offset)
        return (tensor.float() if tensor.dtype.is_floating_point else tensor).contiguous()

    def _array(self, storage: Storage) -> np.ndarray:
        dtype = STORAGE_TYPES[storage.kind]
        array = np.frombuffer(bytearray(self._read(storage)), dtype)
        return (array.astype('u4') << 16).view('f4') if storage.kind == 'BFloat16Storage' else array

    def _read(self, storage: Storage) -> bytes:
        raise NotImplementedError


class LegacyFile(SavedFile):
    """A checkpoint in the legacy format."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._places: Dict[str, int] = {}
        pickles = Pickles(file.read(BUDGET))
        _, version, _ = (Unpickler(pickles).load() for _ in range(3))
        if version != _LEGACY_PROTOCOL:
            raise ValueError('it has an unknown protocol version')
        unpickler = Unpickler(pickles)
        self.saved = unpickler.load()
        keys = Unpickler(pickles).load()
        place = pickles.tell()
        for key in keys:
            storage = unpickler.storages.pop(key if type(key) is str else None)
            file.seek(place)
            count = int.from_bytes(file.read(8), 'little')
            self._places[key] = place + 8
            place += 8 + storage.nbytes
            if place > self._size or count != storage.count:
                raise ValueError(f'storage {key} has {count} elements, not {storage.count}, or is cut off')
        if unpickler.storages:
            raise ValueError(f'it has no data for storage {min(unpickler.storages)}')

    def _read(self, storage: Storage) -> bytes:
        self._file.seek(self._places[storage.key])
        return self._file.read(storage.nbytes)


class ZipFile(SavedFile):
    """A checkpoint in the zip format."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._zip = zipfile.ZipFile(file)
        names = self._zip.namelist()
        pickles = [name for name in names if name.count('/') == 1 and name.endswith('/data.pkl')]
        if len(pickles) != 1:
            raise ValueError('it is a zip archive without data.pkl, not one of torch.save')
        self._folder = pickles[0][: -len('data.pkl')]
        if self._folder + 'byteorder' in names and self._zip.read(self._entry('byteorder')) != b'little':
            raise ValueError('its numbers are not little-endian')
        with self._zip.open(self._entry('data.pkl')) as entry:
            unpickler = Unpickler(Pickles(entry.read(BUDGET)))
        self.saved = unpickler.load()
        for key, storage in unpickler.storages.items():
            size = self._entry(f'data/{key}').file_size
            if size != storage.nbytes:
                raise ValueError(f'storage {key} has {size} bytes, not {storage.nbytes}')
        if sum(storage.nbytes for storage in unpickler.storages.values()) > self._size:
            raise ValueError('its storages are larger than the file')

    def _entry(self, name: str) -> zipfile.ZipInfo:
        """An entry of the archive; zipfile takes memory for either of its two sizes."""
        entry = self._zip.getinfo(self._folder + name)
        if (
            entry.compress_type != zipfile.ZIP_STORED
            or not entry.file_size == entry.compress_size <= self._size
        ):
            raise ValueError(f'{name} is compressed, or larger than the file')
        return entry

    def _read(self, storage: Storage) -> bytes:
        return self._zip.read(self._entry(f'data/{storage.key}'))
