"""The two file formats of ``torch.save``, read with the restricted unpickler.

- zip (torch >= 1.6): ``<name>/data.pkl``, the pickle; ``<name>/data/<key>``, a storage each;
``<name>/byteorder``.
- legacy: five pickles (a magic number, a protocol version, the system, the object, the list of storage keys),
  then for each key an int64 number of elements and the elements, little-endian.

A storage is read when a tensor of the state dict needs it, never an optimizer's. What the file claims is held
against what it has before memory is taken for it.
"""

import io
import os
import struct
import sys
import zipfile

import numpy as np
import torch

from .restricted import RestrictedUnpickler, as_count, show

#: the pickled magic number as it stands near the start of a legacy file, whatever the pickle's protocol
LEGACY_MAGIC = b'\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
_LEGACY_PROTOCOL = 1001
_LONGEST_LINE = 1 << 16
# So many bytes are read without looking whether they are there first; most reads are of one.
_FEW = 256
#: bytes of a checkpoint's pickles; large networks with an optimizer have some 0.5 MB, and in memory a byte
#: may become 300
_MOST_PICKLED = 1 << 22


class DamagedError(Exception):
    """The file contradicts itself or ends early; the message completes "<path> ..."."""


class Stream:
    """An open file as unpicklers see it: no read allocates more than the file has left, no line and no pickle
    is endless."""

    def __init__(self, file, size=None):
        self.file = file
        self.size = os.fstat(file.fileno()).st_size if size is None else size
        self._room = _MOST_PICKLED

    @property
    def left(self):
        """Bytes from here to the end."""
        return max(0, self.size - self.file.tell())

    def read(self, count):
        if count > _FEW and count > self.left:
            raise EOFError(f'{count} bytes are wanted, {self.left} are left')
        self._use(count)
        data = self.file.read(max(0, count))
        if len(data) < count:
            raise EOFError(f'{count} bytes are wanted, {len(data)} are left')
        return data

    def readline(self):
        line = self.file.readline(_LONGEST_LINE)
        if len(line) == _LONGEST_LINE:
            raise ValueError(f'a line of more than {_LONGEST_LINE} bytes')
        if not line.endswith(b'\n'):
            raise EOFError('a line without its end')
        self._use(len(line))
        return line

    def _use(self, count):
        self._room -= count
        if self._room < 0:
            raise DamagedError(
                f'is damaged, or no plain checkpoint: its pickle has more than {_MOST_PICKLED >> 20} MiB'
            )


class LegacyFile:
    """A checkpoint in the legacy format.

    Args:
        path: the file.

    Raises (from every method):
        DamagedError, RefusedError, OSError; from the pickles any other exception where they are damaged.
    """

    def __init__(self, path):
        self._file = open(path, 'rb')
        self._places = {}  # key -> offset of the first element
        self._shared = _Shared(self.storage)

    def load(self):
        """The saved object, with a TensorClaim for every tensor; the storages are there and have the claimed
        sizes."""
        stream = Stream(self._file)
        RestrictedUnpickler(stream).load()
        version = RestrictedUnpickler(stream).load()
        if version != _LEGACY_PROTOCOL:
            raise DamagedError(f'has protocol version {show(version)}; only {_LEGACY_PROTOCOL} is known')
        RestrictedUnpickler(stream).load()
        unpickler = RestrictedUnpickler(stream)
        saved = unpickler.load()
        keys = RestrictedUnpickler(stream).load()
        for key in keys:
            key = str(key) if type(key) in (str, int) else show(key)
            self._places[key] = self._skip(stream, unpickler.storages[key])
        for key in unpickler.storages:
            if key not in self._places:
                raise DamagedError(f'is damaged: it has no data for storage {key}')
        return saved

    def storage(self, claim):
        """The bytes of a storage."""
        self._file.seek(self._places[claim.key])
        return self._file.read(_size(claim))

    def tensor(self, claim):
        """A TensorClaim as a tensor, see :func:`make_tensor`."""
        return make_tensor(claim, self._shared.storage(claim.storage))

    def close(self):
        self._file.close()

    @staticmethod
    def _skip(stream, claim):
        if stream.left < 8 + _size(claim):
            raise DamagedError(
                f'is truncated: storage {claim.key} needs {8 + _size(claim)} bytes, {stream.left} are left;'
                ' download or copy it again'
            )
        (count,) = struct.unpack('<q', stream.read(8))
        if count != claim.count:
            raise DamagedError(
                f'is damaged: storage {claim.key} has {count} elements where {claim.count} were announced'
            )
        place = stream.file.tell()
        stream.file.seek(_size(claim), os.SEEK_CUR)
        return place


class _Shared:
    """Storages that several tensors share, kept once that shows: a file may claim one large storage for many
    small tensors."""

    def __init__(self, read):
        self._read = read
        self._seen = set()
        self._kept = {}

    def storage(self, claim):
        if claim.key in self._kept:
            return self._kept[claim.key]
        raw = self._read(claim)
        if claim.key in self._seen:
            self._kept[claim.key] = raw
        self._seen.add(claim.key)
        return raw


class ZipFile:
    """A checkpoint in the zip format; see :class:`LegacyFile` for the methods.

    Raises (also from the constructor):
        DamagedError: as there, or a zip archive that is no checkpoint.
    """

    def __init__(self, path):
        self._shared = _Shared(self.storage)
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            raise DamagedError(
                'is truncated or damaged: the directory at the end of the zip archive is missing; '
                'download or copy it again'
            ) from None
        try:
            self._prefix = self._check(os.path.getsize(path))
            self._order = self._find_order()
        except BaseException:
            self.close()
            raise

    def load(self):
        with self._zip.open(self._prefix + 'data.pkl') as file:
            data = file.read(_MOST_PICKLED + 1)
        unpickler = RestrictedUnpickler(Stream(io.BytesIO(data), len(data)))
        saved = unpickler.load()
        for claim in unpickler.storages.values():
            try:
                size = self._zip.getinfo(self._name(claim)).file_size
            except KeyError:
                raise DamagedError(f'is damaged: it has no data for storage {claim.key}') from None
            if size != _size(claim):
                raise DamagedError(
                    f'is damaged: storage {claim.key} has {size} bytes where {_size(claim)} were announced'
                )
        return saved

    def storage(self, claim):
        return self._zip.read(self._name(claim))

    def tensor(self, claim):
        return make_tensor(claim, self._shared.storage(claim.storage), self._order)

    def close(self):
        self._zip.close()

    def _check(self, size):
        """Look for ``data.pkl``, and that nothing in the archive grows when read; return the folder it is
        in."""
        entries = self._zip.infolist()
        names = [entry.filename for entry in entries]
        pickles = [name for name in names if name.count('/') == 1 and name.endswith('/data.pkl')]
        if len(pickles) != 1:
            raise DamagedError('is a zip archive but not one of torch.save: it has no data.pkl')
        prefix = pickles[0][: -len('data.pkl')]
        if any(name.endswith('constants.pkl') for name in names):
            raise DamagedError('is a TorchScript program, not a checkpoint: save its state_dict()')
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise DamagedError('is a compressed zip archive, which torch.save does not write')
        # a stored part has one size; Python's zipfile takes memory for the other one
        if sum(entry.file_size for entry in entries) > size or any(
            entry.compress_size != entry.file_size for entry in entries
        ):
            raise DamagedError('is damaged: its parts are larger than the file')
        return prefix

    def _name(self, claim):
        return f'{self._prefix}data/{claim.key}'

    def _find_order(self):
        name = self._prefix + 'byteorder'
        if name not in self._zip.namelist():
            return sys.byteorder
        return self._zip.read(name).decode('ascii', 'replace').strip()


def make_tensor(claim, raw, byteorder='little'):
    """A CPU tensor of its own memory; bfloat16 becomes float32, bool uint8, other types stay.

    Args:
        claim: a TensorClaim.
        raw: the bytes of its storage.
        byteorder: ``'little'`` or ``'big'``, of ``raw``.

    Raises:
        DamagedError: the tensor reaches beyond its storage, or has more elements than it.
    """
    if byteorder not in ('little', 'big'):
        raise DamagedError(f'is damaged: its byte order is {byteorder!r}')
    storage = claim.storage
    is_bfloat16 = storage.type == 'bfloat16'
    array = np.frombuffer(
        raw,
        np.dtype('u2' if is_bfloat16 else storage.type).newbyteorder('<' if byteorder == 'little' else '>'),
    )
    array = array[storage.start : storage.start + storage.length]
    elements = 1
    for length in claim.size:
        elements *= length
    end = claim.offset + (
        sum((n - 1) * step for n, step in zip(claim.size, claim.stride)) + 1 if elements else 0
    )
    if end > len(array) or elements > len(array):
        raise DamagedError(
            f'is damaged: a tensor of shape {list(claim.size)} does not fit its storage of {len(array)}'
            ' elements'
        )
    view = np.lib.stride_tricks.as_strided(
        array[claim.offset :], claim.size, [step * array.itemsize if elements else 0 for step in claim.stride]
    )
    if is_bfloat16:
        bits = np.array(view, 'u4', order='C') << 16
        return torch.from_numpy(np.array(bits, 'u4').view('f4'))
    return torch.from_numpy(np.array(view, 'u1' if storage.type == 'b1' else storage.type, order='C'))


def _size(claim):
    """A storage's bytes, by its claim."""
    return as_count(claim.count) * (2 if claim.type == 'bfloat16' else np.dtype(claim.type).itemsize)
