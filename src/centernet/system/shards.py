"""Shards: the parts of a run that several machines compute.

A shard is every Nth image from the Ith on, so that each has its share of a data set's easy and hard images.
"""

import os
import re
from typing import Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

from .errors import OptionError

#: the value of --shard that reads the engine's variables
AUTO = 'auto'
#: the variable with the number of shards, where an engine does not tell it
TOTAL = 'SHARDS'
Item = TypeVar('Item')


class Shard(NamedTuple):
    """``index``: which shard, from 1. ``count``: of how many."""

    index: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f'{self.index}/{self.count}'

    @property
    def folder(self) -> str:
        """The name of its output folder, in that of the run."""
        return f'shard-{self.index}-of-{self.count}'

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this shard's items."""
        return items[self.index - 1 :: self.count]


#: a run that is not divided
WHOLE = Shard()


def parse_shard(text: str) -> Optional[Shard]:
    """``2/3`` -> ``Shard(2, 3)``; None for anything else."""
    match = re.match(r'([0-9]{1,9})/([0-9]{1,9})\Z', text)
    if match is None:
        return None
    shard = Shard(*map(int, match.groups()))
    return shard if 1 <= shard.index <= shard.count else None


def shard_of_folder(name: str) -> Optional[Shard]:
    """``shard-2-of-3`` -> ``Shard(2, 3)``; None for any other name."""
    match = re.match(r'shard-([0-9]+)-of-([0-9]+)\Z', name)
    return None if match is None else parse_shard('/'.join(match.groups()))


def shard_of_engine(environment: Mapping[str, str] = os.environ) -> Tuple[Shard, str]:
    """Return the shard that the engine which started this process wants, and from which variables.

    Known are Kubernetes' Indexed Jobs (JOB_COMPLETION_INDEX, from 0), Slurm's arrays (SLURM_ARRAY_TASK_ID)
    and CI systems (CI_NODE_INDEX, from 1, and CI_NODE_TOTAL). Kubernetes does not tell the number of shards:
    SHARDS does. Slurm tells how many tasks an array has, which is not the number of shards if single tasks
    are submitted again: then SHARDS does.

    Raises:
        OptionError: there are no such variables, or they are no shard.
    """
    names = [
        name
        for name in ('JOB_COMPLETION_INDEX', 'SLURM_ARRAY_TASK_ID', 'CI_NODE_INDEX')
        if environment.get(name)
    ]
    if not names:
        raise OptionError(
            '--shard auto: none of JOB_COMPLETION_INDEX (Kubernetes), SLURM_ARRAY_TASK_ID (Slurm) and'
            ' CI_NODE_INDEX is set; name the shard, such as --shard 2/4'
        )
    values, first = {names[0]: _integer(environment, names[0])}, 1

    def read(name: str) -> int:
        values[name] = _integer(environment, name)
        return values[name]

    if names[0] == 'JOB_COMPLETION_INDEX':
        first, count = 0, read(TOTAL)
    elif names[0] == 'CI_NODE_INDEX':
        count = read('CI_NODE_TOTAL')
    elif environment.get(TOTAL):
        count = read(TOTAL)
    else:
        count, first = read('SLURM_ARRAY_TASK_COUNT'), read('SLURM_ARRAY_TASK_MIN')
        if first not in (0, 1) or read('SLURM_ARRAY_TASK_MAX') - first + 1 != count:
            raise OptionError(
                '--shard auto: the array does not have the tasks 1 to N: set SHARDS to the number of shards,'
                ' which are numbered from 1'
            )
    read_from = ', '.join(f'{name}={value}' for name, value in values.items())
    shard = Shard(values[names[0]] - first + 1, count)
    if not 1 <= shard.index <= count:
        raise OptionError(f'--shard auto: {read_from} is no shard of a run')
    return shard, read_from


def _integer(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, '')
    if not re.match(r'[0-9]{1,9}\Z', text):
        what = f'is {text!r}, not a number' if text else 'is not set: set it to the number of shards'
        raise OptionError(f'--shard auto: {name} {what}')
    return int(text)
