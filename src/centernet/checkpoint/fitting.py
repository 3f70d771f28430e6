"""A checkpoint -> the network it belongs to, with its weights."""

import re
from collections import OrderedDict
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

import torch
from torch import nn

from ..errors import ArchitectureError, CheckpointError
from ..models import create_model
from ..models.registry import TABLE, known_name
from .reader import Checkpoint, read_checkpoint

StateDict = Dict[str, torch.Tensor]
Shapes = Dict[str, List[int]]
Heads = Dict[str, int]


class LoadedModel(NamedTuple):
    """A network with the weights of a checkpoint."""

    #: on the CPU, in evaluation mode
    model: nn.Module
    arch: str
    #: name -> channels
    heads: 'OrderedDict[str, int]'
    checkpoint: Checkpoint
    #: entries of the file that the network does not use, such as ``base.fc.*`` of the published DLA files
    unused_keys: List[str]
    #: what the user should know of how the checkpoint was read, one line each
    notes: List[str]


#: used when neither the caller nor the checkpoint names an architecture
DEFAULT_ARCH = 'dla_34'
# the most channels that any architecture feeds into its heads
_WIDEST_BODY = 256

# where a state dict usually is
_USUAL = ('', 'state_dict')
_MMCV_OFFSETS = re.compile(r'\.conv_offset\.(weight|bias)$')
_CLOSEST = 'no other architecture is closer'
# of the entries; a file that has fewer in common with a network is another one
_A_FEW = 0.2
_PREVIOUS_FRAME = ('base.pre_img_layer.', 'base.pre_hm_layer.')
# BatchNorm's counters matter to training with momentum None only, and torch < 0.4.1 did not save them.
_OPTIONAL = '.num_batches_tracked'
# A head's last convolution: after a 3x3 one, and in the hourglass's second stack.
_LAST_LAYERS = ('2.weight', '2.bias', '1.1.weight', '1.1.bias')


def load_model(
    path: str, arch: Optional[str] = None, heads: Optional[Heads] = None, weights_key: Optional[str] = None
) -> LoadedModel:
    """Read a checkpoint and build its network.

    Args:
        path: the ``.pth`` file.
        arch: the architecture; default: the checkpoint's entry ``arch``, else ``dla_34``.
        heads: name -> channels; default: as in the checkpoint. Their width always comes from the checkpoint.
        weights_key: the entry of the state dict, where there are several.

    Raises:
        ArchitectureError: ``arch`` is unknown.
        CheckpointError: the file cannot be read, or does not fit; the message says why, and which
            architecture fits.
    """
    if arch is not None:
        arch = known_name(arch)
        if arch not in TABLE:
            create_model(arch, {'hm': 1})  # raises, before a large file is read
    checkpoint = read_checkpoint(path, weights_key)
    notes = (
        [] if checkpoint.entry in _USUAL else [f'the weights are the entry {checkpoint.entry} of the file']
    )
    checkpoint = _rename_offsets(checkpoint, notes)
    if arch is None:
        arch = checkpoint.meta.get('arch', DEFAULT_ARCH)
        arch = known_name(arch) if type(arch) is str else arch
    found, head_conv = read_heads(checkpoint.state_dict)
    if not found:
        raise CheckpointError(f'{path} {_why_no_heads(checkpoint.state_dict)}')
    heads = OrderedDict(found if heads is None else heads)
    _check_size(path, heads, head_conv, checkpoint.state_dict)
    try:
        model = create_model(arch, heads, head_conv)
    except ArchitectureError as error:
        raise CheckpointError(f'{path}: {error}') from error
    problems, unused = compare(shapes(model.state_dict()), shapes(checkpoint.state_dict), arch)
    if problems:
        suggestion = _suggestion(arch, heads, checkpoint.state_dict, found, head_conv)
        if suggestion == _CLOSEST:
            if unused:
                suggestion += ': layers were renamed, or it is another network'
            elif 'missing' in problems[0]:
                suggestion += ', so the file is incomplete'
        if unused and not suggestion.startswith('it fits'):
            verb = 'is' if len(unused) == 1 else 'are'
            problems.append(f"{len(unused)} of the file's entries {verb} unknown to it ({_first(unused)})")
        raise CheckpointError(f'{path} does not fit {arch}: {" and ".join(problems)}; {suggestion}')
    model.load_state_dict(checkpoint.state_dict, strict=False)
    return LoadedModel(model.eval(), arch, heads, checkpoint, unused, notes + _unused_notes(unused))


def _why_no_heads(state_dict: StateDict) -> str:
    """Say why there are no heads: other names, or another network."""
    for name in state_dict:
        inner = re.match(r'(.+?\.)(hm|wh|reg)\.', name)
        if inner:
            return (
                f'has the names of a network inside of another, such as {name}: remove'
                f' {inner.group(1)!r} from the names'
            )
    return 'has no heads (hm, wh, reg): it is not a CenterNet checkpoint, or an incomplete one'


def _rename_offsets(checkpoint: Checkpoint, notes: List[str]) -> Checkpoint:
    """Take mmcv's name of the layer that gives a deformable convolution its offsets and masks; the layer is
    the same, with its channels in the same order."""
    names = [name for name in checkpoint.state_dict if _MMCV_OFFSETS.search(name)]
    renamed = {name: _MMCV_OFFSETS.sub(r'.conv_offset_mask.\1', name) for name in names}
    if not names or not set(checkpoint.state_dict).isdisjoint(renamed.values()):
        return checkpoint
    notes.append(f"{len(names)} entries with mmcv's name conv_offset are read as conv_offset_mask")
    state_dict = OrderedDict(
        (renamed.get(name, name), value) for name, value in checkpoint.state_dict.items()
    )
    return checkpoint._replace(state_dict=state_dict)


def _unused_notes(unused: List[str]) -> List[str]:
    """What to say of the entries that are not used."""
    notes = []
    if unused:
        verb = 'entry of the checkpoint is' if len(unused) == 1 else 'entries of the checkpoint are'
        notes.append(f'{len(unused)} {verb} not used: {_first(unused)}')
    if any(name.startswith(_PREVIOUS_FRAME) for name in unused):
        notes.append(
            "CenterTrack's layers for the previous frame are among them: the figures are those of single"
            ' images without the previous frame'
        )
    return notes


def _check_size(path: str, heads: Heads, head_conv: Optional[int], state_dict: StateDict) -> None:
    """Raise CheckpointError where these heads would take far more memory than the file has: one bias is
    enough to declare a head."""
    declared = (sum(heads.values()) + len(heads) * _WIDEST_BODY) * 9 * max(head_conv or 0, 1)
    if declared > 4 * sum(value.numel() for value in state_dict.values()) + (1 << 24):
        raise CheckpointError(
            f'{path} is damaged: its weights do not match the declared heads ({_list(heads)}, width'
            f' {head_conv})'
        )


def read_heads(state_dict: StateDict) -> Tuple['OrderedDict[str, int]', Optional[int]]:
    """Find the heads of a state dict by the names and shapes of their last layers.

    Returns:
        (heads, head_conv): name -> channels in the order of the state dict, and the width of the heads' 3x3
        convolution: 0 without one, None without heads.
    """
    heads, width = OrderedDict(), None
    for key, value in state_dict.items():
        name, _, layer = key.partition('.')
        if layer in _LAST_LAYERS and value.dim():  # a bias is enough: a missing weight is reported later
            heads.setdefault(name, value.shape[0])
            width = value.shape[1] if value.dim() == 4 else width
        elif layer == 'weight' and value.dim() == 4 and name + '.bias' in state_dict:
            # a head of one layer: no other layer at this level has a weight and a bias
            heads[name], width = value.shape[0], 0
    return heads, width


def shapes(state_dict: StateDict) -> Shapes:
    """Return name -> shape."""
    return OrderedDict((name, list(value.shape)) for name, value in state_dict.items())


def compare(expected: Shapes, given: Shapes, arch: str) -> Tuple[List[str], List[str]]:
    """Compare the shapes of a network with those of a file.

    Args:
        expected, given: of the network and of the file.
        arch: the network's name, for the text.

    Returns:
        (problems, unused): phrases with counts and the first few entries, none if the file fits; and the
        names that the network does not have.
    """
    missing = [name for name in expected if name not in given and not name.endswith(_OPTIONAL)]
    wrong = [name for name in expected if name in given and given[name] != expected[name]]
    problems = []
    if missing:
        verb = 'is' if len(missing) == 1 else 'are'
        problems.append(f'{len(missing)} of its {len(expected)} entries {verb} missing ({_first(missing)})')
    if wrong:
        verb = 'has' if len(wrong) == 1 else 'have'
        shown = (f'{name} is {given[name]} in the file, {expected[name]} in {arch}' for name in wrong)
        first = _first(shown, most=2)
        problems.append(f'{len(wrong)} {verb} another shape ({first})')
    return problems, [name for name in given if name not in expected]


def _suggestion(arch: str, heads: Heads, state_dict: StateDict, found: Heads, head_conv: int) -> str:
    """Return the end of the message: which architecture fits, or is closest.

    Args:
        arch, heads: the requested ones.
        state_dict, found, head_conv: of the file.
    """
    given = shapes(state_dict)
    best, most = None, 0
    # Building a network takes time. So the requested one comes first, then those with the most specific
    # landmark, then small networks before large ones; and one that has nearly all entries ends the search.
    for name in sorted(TABLE, key=lambda name: (name != arch, -len(TABLE[name].landmark), len(name), name)):
        if (TABLE[name].landmark not in given and name != arch) or most > 0.9:
            continue
        try:
            expected = shapes(create_model(name, OrderedDict(found), head_conv).state_dict())
        except ArchitectureError:
            continue
        if not compare(expected, given, name)[0]:
            if name == arch:
                return f'its heads are {_list(found)}, not {_list(heads)}'
            return f'it fits {name}: give --arch {name}'
        same = sum(given.get(key) == shape for key, shape in expected.items())
        share = same / len(set(expected) | set(given))
        if share > most:
            best, most = name, share
    if best == arch and most > _A_FEW:
        return _CLOSEST
    if most < 0.5:
        return 'it is not close to any known architecture'
    return f'the closest is {best}: {most:.0%} of the entries are the same'


def _list(heads: Heads) -> str:
    return ', '.join(f'{name} {channels}' for name, channels in heads.items())


def _first(parts: Iterable[str], most: int = 3) -> str:
    parts = list(parts)
    return ', '.join(parts[:most]) + (', ...' if len(parts) > most else '')
