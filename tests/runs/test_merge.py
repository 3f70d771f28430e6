"""Merged shards against one run."""

import json
import os
import resource
import shutil

import pytest
from support.painted import PaintNetwork, write_data
from support.runs import run

from centernet.coco import CocoData
from centernet.report import load_run
from centernet.runs.merge import MissingImages, merge
from centernet.runs.present import format_score
from centernet.runs.run import find_runs
from centernet.system.errors import DataError, Interrupted, OptionError, UserError
from centernet.system.shards import Shard


def shards_in(folder):
    return find_runs([str(folder)])['']


def run_shards(data, folder, count, network=None, only=None, **options):
    for index in only or range(1, count + 1):
        shard = Shard(index, count)
        run(data, folder / shard.folder, network, shard=shard, **options)
    return shards_in(folder)


def change_journal(folder, change):
    path = folder / 'journal.jsonl'
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text(''.join(json.dumps(line) + '\n' for line in change(lines)))


@pytest.mark.parametrize('count', [1, 3, 5, 12])
@pytest.mark.parametrize('selection', [{}, {'limit': 12}])
def test_shards_give_the_same_as_one_run(data, tmp_path, count, selection):
    whole = run(data, tmp_path / 'whole', **selection)
    folders = run_shards(data, tmp_path / 'shards', count, **selection)
    assert len(folders) == count
    found = merge(folders, str(tmp_path / 'merged'))
    names = [tmp_path / name / 'results.json' for name in ('whole', 'merged')]
    assert names[0].read_bytes() == names[1].read_bytes()
    assert found.metrics == whole.metrics
    same = set(found.document) - {'timings', 'sessions'}
    assert {key: found.document[key] for key in same} == {key: whole.document[key] for key in same}
    assert found.timings['images'] == 12
    assert found.exit_status == 0


def test_a_selection_is_known_from_the_shards(data, tmp_path):
    ids = tuple(data.image_ids[1:10])
    run_shards(data, tmp_path, 3, ids=ids, limit=7)
    found = merge(shards_in(tmp_path), str(tmp_path / 'merged'))
    assert found.image_ids == list(ids[:7])


def test_missing_images_are_named(data, tmp_path):
    run_shards(data, tmp_path, 4, only=[1, 2, 4])
    with pytest.raises(MissingImages, match=r'3 of 12 images are missing \(shard 3/4: ') as caught:
        merge(shards_in(tmp_path), str(tmp_path / 'merged'))
    assert '--shard 3/4 ' in str(caught.value)
    assert not (tmp_path / 'merged').exists()


def test_a_shard_that_was_killed_lacks_images(data, tmp_path):
    folders = run_shards(data, tmp_path, 2)
    path = tmp_path / Shard(2, 2).folder / 'journal.jsonl'
    lines = [line for line in path.read_bytes().splitlines(True) if not line.startswith(b'{"made"')]
    path.write_bytes(b''.join(lines)[:-10])  # in the middle of its last line
    with pytest.raises(MissingImages, match=r'1 of 12 images are missing \(shard 2/2: '):
        merge(folders, str(tmp_path / 'merged'))
    path.write_bytes(b'')  # nothing is finished
    with pytest.raises(MissingImages, match=r'6 of 12 .* \(shard 2/2: '):
        merge(folders, str(tmp_path / 'merged'))


def test_folders_that_are_no_shards_of_one_number(data, tmp_path):
    run(data, tmp_path / 'a', limit=12, ids=tuple(data.image_ids[:5]))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match=r'no journal\.jsonl, nor folders such as'):
        find_runs([str(tmp_path / 'empty')])
    with pytest.raises(DataError, match='no such folder'):
        shards_in(tmp_path / 'b')
    with pytest.raises(DataError, match=r'is no run: it has no journal\.jsonl'):
        merge([str(tmp_path)], str(tmp_path / 'merged'))
    assert shards_in(tmp_path / 'a') == [str(tmp_path / 'a')]
    (tmp_path / 'several' / 'one' / 'shard-1-of-2').mkdir(parents=True)
    with pytest.raises(DataError, match='merge each by itself'):
        find_runs([str(tmp_path / 'a'), str(tmp_path / 'several')])


def test_double_images_are_refused(data, tmp_path):
    folders = run_shards(data, tmp_path / 'in-three', 3) + run_shards(data, tmp_path / 'in-two', 2, only=[1])
    with pytest.raises(OptionError, match=r'image \d+ is in .*shard-1-of-2 and in .*leave one of these'):
        merge(folders, str(tmp_path / 'merged'))


@pytest.mark.parametrize(
    'changed, words',
    [
        ({'flip_test': True}, r'protocol\.flip_test is False and True'),
        ({'input_width': 96}, r'protocol\.input_width is 64 and 96'),
        ({'limit': 11}, '--limit or --ids differed'),
        ({'ids': (103, 127)}, '--limit or --ids differed'),
    ],
)
def test_shards_of_other_runs_are_refused(data, tmp_path, changed, words):
    run_shards(data, tmp_path, 2, only=[1])
    run_shards(data, tmp_path, 2, only=[2], **changed)
    with pytest.raises(OptionError, match=words):
        merge(shards_in(tmp_path), str(tmp_path / 'merged'))


def test_shards_of_other_weights_are_refused_and_of_other_versions_named(data, tmp_path):
    run_shards(data, tmp_path / 'a', 2, only=[1])
    run_shards(data, tmp_path / 'a', 2, only=[2], network=PaintNetwork(sha256='other'))
    with pytest.raises(OptionError, match=r'different runs: network\.sha256 is none and other'):
        merge(shards_in(tmp_path / 'a'), str(tmp_path / 'merged'))

    def with_other_torch(lines):
        lines[1]['session']['environment']['torch'] = '0.4'
        return lines

    folders, lines = run_shards(data, tmp_path / 'b', 2), []
    change_journal(tmp_path / 'b' / Shard(2, 2).folder, with_other_torch)
    assert merge(folders, str(tmp_path / 'merged'), say=lines.append).document['images'] == 12
    assert len(lines) == 1 and 'last digits: environment.torch is' in lines[0] and '0.4' in lines[0]


def test_devices_are_mixed_only_when_asked(data, tmp_path):
    networks = [PaintNetwork(device=name, device_name='X') for name in ('cpu', 'cuda')]
    run_shards(data, tmp_path, 3, only=[1], network=networks[0])
    folders = run_shards(data, tmp_path, 3, only=[2, 3], network=networks[1])
    with pytest.raises(OptionError, match='see --mixed-devices'):
        merge(folders, str(tmp_path / 'merged'))
    found = merge(folders, str(tmp_path / 'merged'), mixed_devices=True)
    times = found.document['timings']['per_device']
    assert {device: part['images'] for device, part in times.items()} == {'cpu (X)': 4, 'cuda (X)': 8}
    assert 'cuda (X):\nstage ' in format_score(found)
    rows = dict(load_run(str(tmp_path / 'merged')).rows())
    assert rows['device'] == 'cpu (X): 4 images; cuda (X): 8 images'


def test_unreadable_images_stay_unreadable(tmp_path):
    folder = write_data(tmp_path / 'data')
    data = CocoData.load(str(folder))
    (folder / 'val2017' / data.entries[data.image_ids[4]]['file_name']).write_bytes(b'no picture')
    whole = run(data, tmp_path / 'whole')
    folders = run_shards(data, tmp_path / 'shards', 3)
    found = merge(folders, str(tmp_path / 'merged'))
    assert list(found.failed) == [data.image_ids[4]]
    assert found.document['failed_images'] == whole.document['failed_images']
    assert found.metrics == whole.metrics
    assert (found.exit_status, whole.exit_status) == (1, 1)
    # repaired, and evaluated again
    shutil.copy(
        str(folder / 'val2017' / data.entries[data.image_ids[0]]['file_name']),
        str(folder / 'val2017' / data.entries[data.image_ids[4]]['file_name']),
    )
    run(data, tmp_path / 'shards' / Shard(2, 3).folder, shard=Shard(2, 3), resume=True)
    assert merge(folders, str(tmp_path / 'merged')).failed == {}


def test_data_that_have_moved(data_folder, tmp_path):
    data = CocoData.load(str(data_folder))
    folders = run_shards(data, tmp_path / 'shards', 2)
    data_folder.rename(tmp_path / 'moved')
    with pytest.raises(DataError, match='is missing: give --data'):
        merge(folders, str(tmp_path / 'merged'))
    moved = CocoData.load(str(tmp_path / 'moved'))
    assert merge(folders, str(tmp_path / 'merged'), moved).document['images'] == 12
    annotations = tmp_path / 'moved' / 'annotations' / 'instances_val2017.json'
    annotations.write_text(annotations.read_text() + '\n')
    with pytest.raises(DataError, match='differs from what'):
        merge(folders, str(tmp_path / 'merged'), moved)


def test_a_damaged_journal(data, tmp_path):
    folders = run_shards(data, tmp_path, 2)
    path = tmp_path / Shard(2, 2).folder / 'journal.jsonl'
    lines = path.read_bytes().split(b'\n')
    lines[3] = lines[3][:30]
    path.write_bytes(b'\n'.join(lines))
    with pytest.raises(DataError, match='damaged in line 4: choose another'):
        merge(folders, str(tmp_path / 'merged'))
    path.write_text('{"journal":1,"fingerprint":{}}\n')
    with pytest.raises(DataError, match='an earlier version of centernet'):
        merge(folders, str(tmp_path / 'merged'))


def test_more_journals_than_open_files_are_allowed(data, tmp_path):
    folders = run_shards(data, tmp_path, 12)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir('/proc/self/fd'))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 6, limits[1]))
    try:
        assert merge(folders, str(tmp_path / 'merged')).document['images'] == 12
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_output_is_no_shard(data, tmp_path):
    folders = run_shards(data, tmp_path, 2)
    with pytest.raises(OptionError, match='is the folder of a shard'):
        merge(folders, folders[1])


def test_an_interrupted_shard_is_resumed(data, tmp_path):
    class Stopping(PaintNetwork):
        def __call__(self, images):
            if len(self.batches) == 1:
                raise KeyboardInterrupt
            return super().__call__(images)

    run_shards(data, tmp_path, 2, only=[1])
    shard = Shard(2, 2)
    with pytest.raises(Interrupted, match='2 of 6 images'):
        run(data, tmp_path / shard.folder, Stopping(), shard=shard)
    with pytest.raises(UserError, match='4 of 12 images are missing'):
        merge(shards_in(tmp_path), str(tmp_path / 'merged'))
    run(data, tmp_path / shard.folder, shard=shard, resume=True)
    merge(shards_in(tmp_path), str(tmp_path / 'merged'))
    run(data, tmp_path / 'whole')
    names = [tmp_path / name / 'results.json' for name in ('whole', 'merged')]
    assert names[0].read_bytes() == names[1].read_bytes()
