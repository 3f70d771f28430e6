"""A checkpoint -> the network it belongs to, with its weights."""

from collections import OrderedDict
from typing import NamedTuple

from torch import nn

from ..errors import ArchitectureError, CheckpointError
from ..models import create_model
from ..models.registry import TABLE
from .reader import Checkpoint, read_checkpoint

#: model: on the CPU, in evaluation mode; arch: its name; heads: name -> channels; unused_keys: entries of the
#: file that the network has no use for, such as the ``base.fc.*`` of DLA's published checkpoints
LoadedModel = NamedTuple(
    'LoadedModel',
    [
        ('model', nn.Module),
        ('arch', str),
        ('heads', OrderedDict),
        ('checkpoint', Checkpoint),
        ('unused_keys', list),
    ],
)

#: taken where neither the caller nor the checkpoint names an architecture
DEFAULT_ARCH = 'dla_34'
# channels that go into the heads: 256 in hourglass and res
_WIDEST_BODY = 256

# BatchNorm's counters matter to training with momentum None only, and torch < 0.4.1 did not save them.
_OPTIONAL = '.num_batches_tracked'
# A head's last convolution: after a 3x3 one, and in the hourglass's second stack.
_LAST_LAYERS = ('2.weight', '2.bias', '1.1.weight', '1.1.bias')


def load_model(path, arch=None, heads=None):
    """Read a checkpoint and build its network.

    Args:
        path: the ``.pth`` file.
        arch: the architecture; None takes what the checkpoint says (its entry ``arch``), else ``dla_34``.
        heads: name -> channels; None reads them off the checkpoint. The heads' width is always read off it.

    Returns:
        LoadedModel.

    Raises:
        ArchitectureError: ``arch`` is unknown.
        CheckpointError: the file cannot be read, or does not fit; the message says where and which
            architecture does.
    """
    if arch is not None and arch not in TABLE:
        create_model(arch, {'hm': 1})  # raises, before a large file is read
    checkpoint = read_checkpoint(path)
    if arch is None:
        arch = checkpoint.meta.get('arch', DEFAULT_ARCH)
    found, head_conv = read_heads(checkpoint.state_dict)
    if not found:
        raise CheckpointError(
            f'{path} has no heads (hm, wh, reg): it is not a checkpoint of CenterNet, or a part of one'
        )
    heads = OrderedDict(found if heads is None else heads)
    _check_size(path, heads, head_conv, checkpoint.state_dict)
    try:
        model = create_model(arch, heads, head_conv)
    except ArchitectureError as error:
        raise CheckpointError(f'{path}: {error}') from error
    problems, unused = compare(shapes(model.state_dict()), shapes(checkpoint.state_dict), arch)
    if problems:
        raise CheckpointError(
            '{} does not fit {}: {}{}'.format(
                path,
                arch,
                ' and '.join(problems),
                _suggestion(arch, heads, checkpoint.state_dict, found, head_conv),
            )
        )
    model.load_state_dict(checkpoint.state_dict, strict=False)
    return LoadedModel(model.eval(), arch, heads, checkpoint, unused)


def _check_size(path, heads, head_conv, state_dict):
    """Raise CheckpointError where building these heads would take far more memory than the file has: a bias
    alone may claim them."""
    claimed = (sum(heads.values()) + len(heads) * _WIDEST_BODY) * 9 * max(head_conv or 0, 1)
    if claimed > 4 * sum(value.numel() for value in state_dict.values()) + (1 << 24):
        raise CheckpointError(
            '{} is damaged: it has not the weights that its heads claim ({}, width {})'.format(
                path, ', '.join('{} {}'.format(*head) for head in heads.items()), head_conv
            )
        )


def read_heads(state_dict):
    """The heads that a state dict has, by the names and shapes of their last layers.

    Returns:
        (heads, head_conv): an OrderedDict name -> channels in the order of the state dict, and the width of
        the heads' 3x3 convolution, 0 where they have none, None where there are no heads.
    """
    heads, width = OrderedDict(), None
    for key, value in state_dict.items():
        name, _, layer = key.partition('.')
        if layer in _LAST_LAYERS and value.dim():  # a bias will do: then the weight is found missing later
            heads.setdefault(name, value.shape[0])
            width = value.shape[1] if value.dim() == 4 else width
        elif (
            layer == 'weight' and value.dim() == 4 and name + '.bias' in state_dict
        ):  # no other layer right here has both
            heads[name], width = value.shape[0], 0
    return heads, width


def shapes(state_dict):
    """Name -> shape as a list."""
    return OrderedDict((name, list(value.shape)) for name, value in state_dict.items())


def compare(expected, given, arch):
    """What keeps a state dict from fitting.

    Args:
        expected, given: name -> shape, of the network and of the file.
        arch: the network's name, for the text.

    Returns:
        (problems, unused): phrases that name the first few entries, none where the file fits; and the names
        that the network does not have.
    """
    missing = [name for name in expected if name not in given and not name.endswith(_OPTIONAL)]
    wrong = [name for name in expected if name in given and given[name] != expected[name]]
    problems = []
    if missing:
        problems.append(
            '{} of its {} entries {} missing ({})'.format(
                len(missing), len(expected), 'is' if len(missing) == 1 else 'are', _first(missing)
            )
        )
    if wrong:
        problems.append(
            '{} {} another shape ({})'.format(
                len(wrong),
                'has' if len(wrong) == 1 else 'have',
                _first(f'{name} is {given[name]} in the file, {expected[name]} in {arch}' for name in wrong),
            )
        )
    return problems, [name for name in given if name not in expected]


def _suggestion(arch, heads, state_dict, found, head_conv):
    """The end of the message: which architecture fits, or comes nearest.

    Args:
        arch, heads: what was asked for.
        state_dict, found, head_conv: of the file.
    """
    given = shapes(state_dict)
    best, most = None, 0
    # Building a network takes time. So the one asked for comes first, a landmark that is not only the body's
    # before others, then small networks before large ones; and what has nearly all entries ends the search.
    for name in sorted(TABLE, key=lambda name: (name != arch, -len(TABLE[name].landmark), len(name), name)):
        if TABLE[name].landmark not in given or most > 0.9:
            continue
        try:
            expected = shapes(create_model(name, OrderedDict(found), head_conv).state_dict())
        except ArchitectureError:
            continue
        if not compare(expected, given, name)[0]:
            if name == arch:
                return f'; its heads are {_heads(found)}, not {_heads(heads)}'
            return f'; it fits {name}: give --arch {name}'
        same = sum(given.get(key) == shape for key, shape in expected.items()) / len(
            set(expected) | set(given)
        )
        if same > most:
            best, most = name, same
    if best == arch:
        return '; no other architecture comes nearer, so the file is not whole'
    if most < 0.5:
        return '; no known architecture comes near it'
    return f'; {best} comes nearest, {most:.0%} of the entries are the same'


def _heads(heads):
    return ', '.join(f'{name} {channels}' for name, channels in heads.items())


def _first(parts, most=2):
    parts = list(parts)
    return ', '.join(parts[:most]) + (', ...' if len(parts) > most else '')
