"""Shards: the parts of a run that several machines compute.

A shard is every Nth image from the Ith on, so that each has its share of a data set's easy and hard images.
"""

import contextlib
import os
import re
from typing import Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

from .errors import OptionError

#: the value of --shard that reads the engine's variables
AUTO = 'auto'
#: by engine: the variables with the number of its task and of all tasks, and the number of the first
_ENGINES = (
    ('JOB_COMPLETION_INDEX', 'SHARDS', 0),  # Kubernetes
    ('SLURM_ARRAY_TASK_ID', 'SHARDS', 1),
    ('CI_NODE_INDEX', 'CI_NODE_TOTAL', 1),
)
#: of Slurm without SHARDS
_ARRAY = tuple(f'SLURM_ARRAY_TASK_{name}' for name in ('COUNT', 'MIN', 'MAX'))
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
    engine = next((engine for engine in _ENGINES if environment.get(engine[0])), None)
    if engine is None:
        raise OptionError(
            '--shard auto: set JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID or CI_NODE_INDEX, or name the shard'
        )
    number_in, total_in, first = engine
    is_array = number_in == 'SLURM_ARRAY_TASK_ID' and not environment.get(total_in)
    names = (number_in, *(_ARRAY if is_array else [total_in]))
    read_from = ', '.join(f'{name}={environment.get(name, "")}' for name in names)
    with contextlib.suppress(ValueError):
        number, count, *ends = (int(environment.get(name, '')) for name in names)
        first = min(ends, default=first)
        if not ends or (first in (0, 1) and ends[1] - first + 1 == count):
            shard = parse_shard(f'{number - first + 1}/{count}')
            if shard is not None:
                return shard, read_from
    raise OptionError(f'--shard auto: {read_from} is no shard: set {total_in} to the number of shards')
