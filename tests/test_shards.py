import pytest

from centernet.system.errors import OptionError
from centernet.system.shards import Shard, parse_shard, shard_of_engine, shard_of_folder


@pytest.mark.parametrize('count', [1, 2, 3, 7])
def test_every_item_is_in_one_shard(count):
    items = list(range(20))
    shards = [list(Shard(index, count).of(items)) for index in range(1, count + 1)]
    assert sorted(item for shard in shards for item in shard) == items
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize('text', ['2/3', '1/1', '12/100'])
def test_a_shard_is_read_as_it_is_written(text):
    shard = parse_shard(text)
    assert str(shard) == text
    assert shard_of_folder(shard.folder) == shard


@pytest.mark.parametrize(
    'text', ['', '2', '0/3', '4/3', '2/0', '-1/3', '1.0/3', '2/3/4', ' 1/2', '1/2\n', 'auto']
)
def test_no_shard(text):
    assert parse_shard(text) is None


@pytest.mark.parametrize('name', ['shard-0-of-3', 'shard-1', 'shard-1-of-2-missing', 'sample'])
def test_no_folder_of_a_shard(name):
    assert shard_of_folder(name) is None


def slurm(index, first, last, **more):
    count = last - first + 1
    values = {'ID': index, 'MIN': first, 'MAX': last, 'COUNT': count}
    return dict({f'SLURM_ARRAY_TASK_{name}': str(value) for name, value in values.items()}, **more)


@pytest.mark.parametrize(
    'environment, expected',
    [
        ({'JOB_COMPLETION_INDEX': '0', 'SHARDS': '4'}, Shard(1, 4)),
        ({'JOB_COMPLETION_INDEX': '3', 'SHARDS': '4'}, Shard(4, 4)),
        (slurm(1, 1, 4), Shard(1, 4)),
        (slurm(0, 0, 3), Shard(1, 4)),
        (slurm(3, 0, 3), Shard(4, 4)),
        (slurm(3, 3, 3, SHARDS='4'), Shard(3, 4)),
        ({'CI_NODE_INDEX': '2', 'CI_NODE_TOTAL': '5'}, Shard(2, 5)),
        # a CI job in Kubernetes or Slurm: what divides the job is nearer than where it runs
        (
            {'JOB_COMPLETION_INDEX': '1', 'SHARDS': '2', 'CI_NODE_INDEX': '5', 'CI_NODE_TOTAL': '5'},
            Shard(2, 2),
        ),
    ],
)
def test_the_variables_of_engines(environment, expected):
    shard, read_from = shard_of_engine(environment)
    assert shard == expected
    for part in read_from.split(', '):
        name, _, value = part.partition('=')
        assert environment[name] == value


@pytest.mark.parametrize(
    'environment, words',
    [
        ({}, 'set JOB_COMPLETION_INDEX'),
        ({'SHARDS': '4'}, 'set JOB_COMPLETION_INDEX'),
        ({'JOB_COMPLETION_INDEX': '1'}, 'SHARDS= is no shard: set SHARDS'),
        ({'JOB_COMPLETION_INDEX': '4', 'SHARDS': '4'}, 'JOB_COMPLETION_INDEX=4, SHARDS=4 is no shard'),
        ({'JOB_COMPLETION_INDEX': 'x', 'SHARDS': '4'}, 'JOB_COMPLETION_INDEX=x, SHARDS=4 is no shard'),
        (slurm(3, 3, 3), 'set SHARDS to the number of shards'),
        (dict(slurm(2, 0, 6), SLURM_ARRAY_TASK_COUNT='4'), 'set SHARDS'),  # --array=0-6:2
        (slurm(0, 0, 3, SHARDS='4'), 'is no shard'),
        ({'CI_NODE_INDEX': '1'}, 'set CI_NODE_TOTAL'),
    ],
)
def test_variables_that_name_no_shard(environment, words):
    with pytest.raises(OptionError, match=words):
        shard_of_engine(environment)
