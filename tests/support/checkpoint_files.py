"""Checkpoints for the tests: torch.save's two formats from any torch version, and pickles with any claims."""

import inspect
import io
import pickle
import struct
import zipfile

import pytest
import torch

from centernet.networks.checkpoint import read_checkpoint
from centernet.system.errors import CheckpointError

#: torch.save's formats
FORMS = ['zip', 'legacy']
#: what a file can claim: one tensor of four values
ONE = {'w': ('FloatStorage', '0', 4, 0, (4,), (1,))}
#: torch >= 1.6 writes zip archives itself
SAVES_ZIP = '_use_new_zipfile_serialization' in inspect.signature(torch.save).parameters
MAGIC = 0x1950A86A20F9469CFC6C


def save(path, saved, form):
    """Save in the format 'zip' or 'legacy': with torch.save if it has the format, else as torch 2 does."""
    if SAVES_ZIP:
        torch.save(saved, str(path), _use_new_zipfile_serialization=form == 'zip')
    elif form == 'legacy':
        torch.save(saved, str(path))
    else:
        buffer, storages = io.BytesIO(), {}
        pickler = StoragePickler(buffer, storages)
        pickler.dump(saved)
        write_zip(path, buffer.getvalue(), storages)


class StoragePickler(pickle.Pickler):
    """Pickle tensors as torch >= 1.6 does, with their storages in separate files."""

    def __init__(self, file, storages):
        super().__init__(file, protocol=2)
        self.storages = storages
        self.keys = {}

    def persistent_id(self, saved):
        if not torch.is_storage(saved):
            return None
        key = self.keys.setdefault(saved._cdata, str(len(self.keys)))
        tensor = getattr(torch, type(saved).__name__.replace('Storage', 'Tensor'))()
        self.storages[key] = tensor.set_(saved).numpy().tobytes()
        return 'storage', type(saved), key, 'cpu', saved.size()


def write_zip(path, data_pkl, storages, folder='archive', compression=zipfile.ZIP_STORED, **more):
    """Write a zip checkpoint of these parts; ``more``: further files of the folder, ``__`` for a dot."""
    with zipfile.ZipFile(str(path), 'w', compression) as archive:
        archive.writestr(folder + '/data.pkl', data_pkl)
        for name, content in more.items():
            archive.writestr('{}/{}'.format(folder, name.replace('__', '.')), content)
        for key, raw in storages.items():
            archive.writestr(f'{folder}/data/{key}', raw)
        archive.writestr(folder + '/version', b'3\n')


def write_legacy(path, object_pkl, storages, magic=MAGIC, version=1001, system=None, keys=None):
    """Write a legacy checkpoint of these parts; bytes are written as they are, other parts are pickled."""
    parts = [
        magic,
        version,
        system or {'little_endian': True},
        object_pkl,
        list(storages) if keys is None else keys,
    ]
    with open(str(path), 'wb') as file:
        for part in parts:
            file.write(part if isinstance(part, bytes) else pickle.dumps(part, 2))
        for count, raw in storages.values():
            file.write(struct.pack('<q', count) + raw)


def claim(entries):
    """Return the pickle of {name: tensor}; a tensor is (storage type, key, count, offset, size, stride)."""
    parts = [b'\x80\x02}(']
    for name, (storage, key, count, offset, size, stride) in entries.items():
        pid = (
            b'('
            + b''.join(
                [
                    text('storage'),
                    b'ctorch\n',
                    storage.encode(),
                    b'\n',
                    text(key),
                    text('cpu'),
                    number(count),
                    b'N',
                ]
            )
            + b'tQ'
        )
        parts += [
            text(name),
            b'ctorch._utils\n_rebuild_tensor_v2\n(',
            pid,
            number(offset),
            numbers(size),
            numbers(stride),
            b'\x89ccollections\nOrderedDict\n)RtR',
        ]
    return b''.join(parts) + b'u.'


def text(value):
    return b'X' + struct.pack('<i', len(value)) + value.encode()


def number(value):
    return b'\x8a\x09' + value.to_bytes(9, 'little', signed=True)


def numbers(values):
    return b'(' + b''.join(number(value) for value in values) + b't'


class Runs:
    """Its pickle calls ``function(*args)`` when it is loaded."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def refusal(path):
    """The message with which a file is refused: a line that names it."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message and '\n' not in message
    return message


def write(path, form, data, storages):
    """A file of the pickle ``data`` and {key: (count, bytes)}."""
    if form == 'zip':
        write_zip(path, data.replace(b'NtQ', b'tQ'), {key: raw for key, (_, raw) in storages.items()})
    else:
        write_legacy(path, data, storages)
