"""What can only be found out by importing other packages, or by using a GPU. Runs in a process of its own,
see :mod:`.processes`.

    packages <module>...
    torch <device>
    data <data or ''> <annotations or ''> <images or ''>

:func:`main` takes these words, and prints a JSON list [name, state, value] before and after each step; the
state is ``trying``, ``found`` or ``failed``.
"""

import importlib
import json
import os

from ..errors import UserError

#: an annotations file up to this size is read; COCO's val2017 has 20 MB
READ_BYTES = 32 << 20


def step(name, function, *arguments):
    """Say what ``function(*arguments)`` returns, or why it fails. Returns that, or None."""
    _print(name, 'trying', None)
    try:
        value = function(*arguments)
        _print(name, 'found', value)
        return value
    except BaseException as error:
        text = (str(error).strip().splitlines() or [''])[0]
        _print(name, 'failed', text if isinstance(error, UserError) else f'{type(error).__name__}: {text}')
        return None


def import_package(name):
    module = importlib.import_module(name)
    return {'version': getattr(module, '__version__', None), 'file': getattr(module, '__file__', None)}


def torch_versions():
    import torch

    return {'version': torch.__version__, 'cuda': torch.version.cuda, 'file': torch.__file__}


def operator():
    from ..dcn import compiled

    return {'compiled': compiled.description(), 'missing': compiled.MISSING}


def gpus():
    import torch

    if torch.version.cuda is None or not torch.cuda.is_available():
        return []
    return [
        {
            'name': torch.cuda.get_device_name(number),
            'capability': list(torch.cuda.get_device_capability(number)),
        }
        for number in range(torch.cuda.device_count())
    ]


def architectures():
    """What this torch has code for, e.g. ``['sm_70', 'compute_70']``; of a torch that cannot tell, what CUDA
    9 and 10 wheels have."""
    import torch

    if hasattr(torch.cuda, 'get_arch_list'):
        return torch.cuda.get_arch_list()
    return ['sm_35', 'sm_50', 'sm_60', 'sm_70']


def device(name):
    from ..device import describe_device, resolve_device

    return describe_device(resolve_device(name))


def data(root, annotations, images):
    from ..coco import CocoData
    from ..coco.data import find_annotations

    path = annotations or (find_annotations(root) if os.path.isdir(root) else '')
    if os.path.isfile(path) and os.path.getsize(path) > READ_BYTES:
        return {'annotations': path, 'images': None, 'count': None}
    found = CocoData.load(root or None, annotations or None, images or None)
    return {'annotations': found.annotations, 'images': found.images, 'count': len(found.image_ids)}


def main(words):
    """Take the steps that ``words`` name."""
    kind, rest = words[0], words[1:]
    if kind == 'packages':
        for name in rest:
            step(name, import_package, name)
    elif kind == 'torch':
        if step('torch', torch_versions) is not None:
            step('operator', operator)
            step('architectures', architectures)
            step('gpus', gpus)
            if rest[0] != 'auto':
                step('device', device, rest[0])
    elif kind == 'data':
        step('data', data, *rest)


def _print(*values):
    print(json.dumps(values), flush=True)
