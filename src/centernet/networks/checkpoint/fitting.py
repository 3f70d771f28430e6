"""A checkpoint -> the network it belongs to, with its weights."""

from collections import OrderedDict
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import nn

from ...system.errors import ArchitectureError, CheckpointError
from ..architectures import create_model
from ..architectures.registry import TABLE, known_name
from .reader import Checkpoint, read_checkpoint

StateDict = Dict[str, torch.Tensor]
Heads = Dict[str, int]


class LoadedModel(NamedTuple):
    """A network with the weights of a checkpoint."""

    #: on the CPU, in evaluation mode
    model: nn.Module
    arch: str
    #: name -> channels
    heads: 'OrderedDict[str, int]'
    checkpoint: Checkpoint
    #: what the user should know of how the checkpoint was read, one line each
    notes: List[str]


#: used when neither the caller nor the checkpoint names an architecture
DEFAULT_ARCH = 'dla_34'
# the most channels that any architecture feeds into its heads
_WIDEST_BODY = 256

# where a state dict usually is
_USUAL = ('', 'state_dict')
# BatchNorm's counters matter to training with momentum None only, and torch < 0.4.1 did not save them.
_OPTIONAL = '.num_batches_tracked'
# A head's last convolution: after a 3x3 one, and in the hourglass's second stack.
_LAST_LAYERS = ('2.weight', '2.bias', '1.1.weight', '1.1.bias')


def load_model(path: str, arch: Optional[str] = None, weights_key: Optional[str] = None) -> LoadedModel:
    """Read a checkpoint and build its network.

    Args:
        path: the ``.pth`` file.
        arch: the architecture; default: the checkpoint's entry ``arch``, else ``dla_34``.
        weights_key: the entry of the state dict, where there are several.

    Raises:
        ArchitectureError: ``arch`` is unknown.
        CheckpointError: the file cannot be read, or does not fit; the message says why, and which
            architecture fits.
    """
    arch = arch and known_name(arch)  # raises, before a large file is read
    checkpoint = read_checkpoint(path, weights_key)
    state_dict = checkpoint.state_dict
    notes = []
    if checkpoint.entry not in _USUAL:
        notes.append(f'the weights are the entry {checkpoint.entry} of the file')
    heads, head_conv = read_heads(state_dict)
    if not heads:
        names = _first(list(state_dict))
        raise CheckpointError(f'{path} has no heads: no names start with hm, wh or reg ({names})')
    _check_size(path, heads, head_conv, state_dict)
    try:
        arch = arch or known_name(str(checkpoint.meta.get('arch', DEFAULT_ARCH)))
        model = create_model(arch, heads, head_conv)
        expected = model.state_dict()
        problems = _differences(expected, state_dict, arch)
        unused = [name for name in state_dict if name not in expected]
        if problems:
            fitting = next((name for name in TABLE if _fits(name, state_dict, heads, head_conv)), None)
            problems += [f"{len(unused)} of the file's unknown ({_first(unused)})"] if unused else []
            advice = f'give --arch {fitting}, which fits' if fitting else 'no architecture fits'
            raise CheckpointError(f'{path} does not fit {arch}: {"; ".join(problems)}; {advice}')
    except ArchitectureError as error:
        raise CheckpointError(f'{path}: {error}') from error
    model.load_state_dict(state_dict, strict=False)
    if unused:
        notes.append(f"not used: {len(unused)} of the checkpoint's entries ({_first(unused)})")
    return LoadedModel(model.eval(), arch, heads, checkpoint, notes)


def _check_size(path: str, heads: Heads, head_conv: Optional[int], state_dict: StateDict) -> None:
    """Raise CheckpointError where these heads would take far more memory than the file has: one bias is
    enough to declare a head."""
    declared = (sum(heads.values()) + len(heads) * _WIDEST_BODY) * 9 * max(head_conv or 0, 1)
    if declared > 4 * sum(value.numel() for value in state_dict.values()) + (1 << 24):
        raise CheckpointError(f'{path} is damaged: its weights do not match the declared heads {dict(heads)}')


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


def _differences(expected: StateDict, given: StateDict, arch: str) -> List[str]:
    """Phrases on what a file lacks, or has in another shape than a network; none where it fits."""
    missing = [name for name in expected if name not in given and not name.endswith(_OPTIONAL)]
    wrong = [
        f'{name} is {list(given[name].shape)} in the file, {list(value.shape)} in {arch}'
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    problems = []
    if missing:
        problems.append(f'{len(missing)} of its {len(expected)} entries missing ({_first(missing)})')
    if wrong:
        problems.append(f'{len(wrong)} with another shape ({_first(wrong, most=2)})')
    return problems


def _fits(arch: str, given: StateDict, heads: Heads, head_conv: int) -> bool:
    """Whether a file has the entries of an architecture. Its landmark comes first: building takes time."""
    if TABLE[arch].landmark not in given:
        return False
    return not _differences(create_model(arch, heads, head_conv).state_dict(), given, arch)


def _first(parts: List[str], most: int = 3) -> str:
    return ', '.join(parts[:most]) + ', ...' * (len(parts) > most)
