"""Outputs that are missing, damaged, foreign or of something else: one line for each."""

import json
import os
import shutil

import numpy as np
import pytest
from devices import stand_in
from support.painted import write_data

from centernet.devices.manifest import read_manifest
from centernet.runs.run import Run


@pytest.fixture
def outputs(dumped, device, tmp_path):
    """A function: layout -> (folder of the dump, folder of the outputs)."""

    def write(layout='ais', **options):
        folder, target = dumped('--layout', layout), str(tmp_path / 'out')
        words = {'outfmt': options.pop('outfmt')} if 'outfmt' in options else {}
        if layout == 'trtexec':
            words = {'raw': options.pop('raw', True)}
        elif layout == 'ais':
            words['summary'] = options.pop('summary', False)
        tool = {'ais': stand_in.ais_bench}.get(layout) or getattr(stand_in, layout)
        tool(device(**options), os.path.join(folder, 'inputs'), target, **words)
        return folder, target

    return write


def stem(folder, place=-1):
    return read_manifest(folder).files[place].stem


def path_of(folder, out, number, place=-1):
    return os.path.join(out, 'run', f'{stem(folder, place)}_{number}.bin')


def truncate(path, size):
    with open(path, 'r+b') as file:
        file.truncate(size)


def change_json(path, change):
    with open(path) as file:
        content = json.load(file)
    change(content)
    with open(path, 'w') as file:
        json.dump(content, file)


# what is done to the files: folder of the dump, folder of the outputs


def truncated(folder, out):
    truncate(path_of(folder, out, 0), 1000)


def one_missing(folder, out):
    os.unlink(path_of(folder, out, 2))


def all_missing(folder, out):
    for number in range(3):
        os.unlink(path_of(folder, out, number))


def not_finite(folder, out):
    values = np.fromfile(path_of(folder, out, 1), np.float32)
    values[[3, 4]] = np.nan, np.inf
    values.tofile(path_of(folder, out, 1))


def one_too_many(folder, out):
    shutil.copy(path_of(folder, out, 1), path_of(folder, out, 7))


def foreign(folder, out):
    shutil.copy(path_of(folder, out, 1), os.path.join(out, 'run', '000000999999_1.bin'))


def damaged_summary(folder, out):
    with open(os.path.join(out, 'run_summary.json'), 'w') as file:
        file.write('{"filesinfo": {"0": {"infiles": 3}}}')


def earlier_run(folder, out):
    """What the summary does not list is of an earlier run into the same folder."""
    change_json(
        os.path.join(out, 'run_summary.json'),
        lambda content: content['filesinfo'].pop(max(content['filesinfo'])),
    )


def two_runs(folder, out):
    shutil.copytree(os.path.join(out, 'run'), os.path.join(out, 'earlier'))


def short(folder, out):
    for name in os.listdir(os.path.join(out, 'run')):
        truncate(os.path.join(out, 'run', name), 4 * 7)


def last_alone(folder, out):
    for name in os.listdir(os.path.join(out, 'run')):
        if not name.startswith(stem(folder)):
            os.unlink(os.path.join(out, 'run', name))


def nothing(folder, out):
    shutil.rmtree(os.path.join(out, 'run'))


def damaged_json(folder, out):
    truncate(os.path.join(out, stem(folder) + '.json'), 500)


def of_polygraphy(change):
    return lambda folder, out: change_json(os.path.join(out, 'outputs.json'), change)


def as_pickles(content):
    for result in content['lst'][0][1]:
        result['outputs']['hm']['values'] = {'array': 'gASVBAAAAAAAAABLAS4=', 'polygraphy_class': 'Tensor'}


def with_two_runners(content):
    content['lst'].append(['onnxrt-runner-N0', content['lst'][0][1]])


def without_the_last(content):
    content['lst'][0][1].pop()


def with_objects(content):
    array = stand_in._array(np.array([{}, {}], object))
    content['lst'][0][1][-1]['outputs']['wh'] = {'values': array, 'polygraphy_class': 'LazyArray'}


def same(found, _):
    return dict(found, wh=found['reg'])


ORDER = ('--order', 'hm,wh,reg')
LAST = ('--ids', '202')
#: how they are written, what is done to them, words of the command, the exit status, and what is said
BAD = [
    ({}, truncated, (), 1, '_0.bin has 1000 bytes, but hm [1, 4, 32, 32] has 16384 bytes'),
    ({}, truncated, ('--on-bad-image', 'skip'), 0, '_0.bin has 1000 bytes'),
    ({}, one_missing, (), 1, '202: output number 2 of 000000000202, reg, is missing'),
    ({}, all_missing, (), 1, '202: the outputs of 000000000202 are missing'),
    ({}, not_finite, (), 1, '_1.bin has 2 values of wh that are infinite or NaN'),
    ({}, one_too_many, (), 1, '202: 000000000202 has an output too many (output number 7)'),
    ({}, None, ('--order', 'hm,wh'), 2, '--order hm,wh: name each of hm, wh, reg once'),
    ({}, foreign, (), 0, 'warning: 1 file belongs to none of the inputs: run/000000999999_1.bin'),
    (dict(summary=True), damaged_summary, (), 2, 'run_summary.json is damaged: remove it'),
    (dict(summary=True), earlier_run, (), 1, '202: the outputs of 000000000202 are missing'),
    (dict(outfmt='TXT'), None, (), 2, 'too coarse to be judged: run ais_bench with --outfmt BIN'),
    ({}, two_runs, (), 2, 'are of two runs: name one folder'),
    (
        {},
        short,
        (),
        2,
        'no reference image has 3 finite outputs of hm (4), wh (2), reg (2) [32, 32]',
    ),
    (dict(change=same), None, (), 2, 'cannot tell if the outputs are'),
    (dict(change=same), None, ORDER, 1, 'NOT the same model'),
    ({}, last_alone, (), 2, 'no reference image has 3 finite outputs'),
    ({}, last_alone, (*LAST, *ORDER), 1, 'NOT verified: no reference image has outputs'),
    ({}, nothing, (), 2, 'has no outputs, such as 000000000139_0.bin'),
    (dict(outputs=('hm', 'wh')), None, (), 1, 'the outputs lack reg, which the checkpoint has'),
    (dict(outputs=('hm', 'wh')), None, (), 1, 'difference: the outputs lack reg'),
    (
        dict(layout='trtexec'),
        None,
        ORDER,
        2,
        '--order is for outputs without names; these are called hm, reg, wh',
    ),
    (dict(layout='trtexec', raw=False), damaged_json, (), 1, '.json is truncated or damaged'),
    (
        dict(layout='polygraphy'),
        of_polygraphy(as_pickles),
        (),
        2,
        'hm is a Tensor, a pickle, which may run code: save arrays',
    ),
    (
        dict(layout='polygraphy'),
        of_polygraphy(with_two_runners),
        (),
        2,
        'has results of 2 runners: save those of one',
    ),
    (
        dict(layout='polygraphy'),
        of_polygraphy(without_the_last),
        (),
        2,
        'has 9 results, not 10',
    ),
    (dict(layout='polygraphy'), of_polygraphy(with_objects), (), 1, 'outputs.json is truncated or damaged'),
]


@pytest.mark.parametrize('options, change, words, status, said', BAD)
def test_what_is_wrong_with_outputs_is_one_line(outputs, judge, options, change, words, status, said):
    folder, out = outputs(**options)
    if change:
        change(folder, out)
    found_status, found, err = judge(out, folder, '--no-metrics', *words)
    assert found_status == status and said in err, err
    if status == 1 and change not in (None, last_alone):
        assert found['images'] == len(read_manifest(folder).files) - 1


def test_outputs_of_other_inputs_alone_are_refused(outputs, judge, dumped, tmp_path):
    _, out = outputs()
    other = os.path.join(dumped('--layout', 'ais', '--shard', '2/2', '--limit', '30'), 'shard-2-of-2')
    for name in os.listdir(os.path.join(out, 'run')):
        if int(name.split('_')[0]) in list(read_manifest(other).places):
            os.unlink(os.path.join(out, 'run', name))
    status, _, err = judge(out, other, '--no-metrics')
    assert status == 2
    assert 'has outputs of other inputs (' in err and '--manifest' in err
    status, _, err = judge(str(tmp_path / 'none'), other)
    assert status == 2 and 'no such folder of outputs' in err


def test_other_weights_and_data_and_protocol_are_refused(outputs, judge, tmp_path):
    folder, out = outputs()
    (tmp_path / 'other.pth').write_bytes(b'other')
    for words, said in (
        (('--weights', str(tmp_path / 'other.pth')), 'was written for other weights'),
        (('--data', str(write_data(tmp_path / 'data', count=2))), 'was written for other data'),
        (('--normalization', 'half'), '--normalization half: the inputs of'),
        (('--input-height', '512'), '--input-height 512: the inputs of'),
        (('--ids', '5'), 'has no image with the id 5'),
    ):
        status, _, err = judge(out, folder, *words)
        assert status == 2 and said in err


def copied(folder, target, *change):
    """A dump elsewhere, with a change of its manifest."""
    shutil.copytree(folder, target)
    path = os.path.join(target, 'manifest.json')
    with open(path) as file:
        text = file.read()
    with open(path, 'w') as file:
        file.write(text.replace(*change))
    return target


def test_another_manifest_starts_again_and_is_not_resumed(outputs, judge, tmp_path):
    folder, out = outputs()
    other = copied(folder, str(tmp_path / 'copy'), '"flip_test": false', '"flip_test": true')
    assert judge(out, folder, '--limit', '4')[0] == 0
    status, _, err = judge(out, other, '--limit', '4', '--resume')
    assert status == 2 and 'belongs to a different run' in err and 'network.sha256' in err
    _, found, _ = judge(out, other, '--limit', '4')  # the checkpoint's own run starts again, too
    assert found['images'] == 4 and found['comparison']['metrics']['images'] == 4


def test_a_manifest_of_an_earlier_version_is_refused(outputs, judge, tmp_path):
    folder, out = outputs()
    other = copied(folder, str(tmp_path / 'copy'), '"manifest": 2', '"manifest": 1')
    status, _, err = judge(out, other)
    assert status == 2 and 'another version of centernet wrote' in err and 'dump the inputs again' in err


def test_outputs_that_were_replaced_are_read_again(outputs, judge):
    folder, out = outputs()
    _, before, _ = judge(out, folder, '--no-metrics')
    for file in read_manifest(folder).files[8:]:
        for number in range(3):
            path = os.path.join(out, 'run', f'{file.stem}_{number}.bin')
            status = os.stat(path)
            np.full_like(np.fromfile(path, np.float32), -9).tofile(path)
            os.utime(path, (status.st_atime, status.st_mtime - 1000))  # as rsync -t keeps it
    _, again, _ = judge(out, folder, '--no-metrics', '--resume')
    _, anew, _ = judge(out, folder, '--no-metrics')
    assert again['metrics'] == anew['metrics'] != before['metrics']
    truncated(folder, out)
    status, found, _ = judge(out, folder, '--no-metrics', '--resume')
    assert status == 1 and found['images'] == 9 and list(found['failed_images']) == ['202']


def test_the_command_that_repeats_a_run(outputs, judge, tmp_path):
    folder, out = outputs()
    words = ['--order', 'hm,wh,reg', '--limit', '4', '--max-detections', '50']
    _, first, _ = judge(out, folder, '--no-metrics', *words)
    run = Run.open(str(tmp_path / 'judged'))
    with run:
        said = run.record.words()
    assert said == ['centernet', 'eval-outputs', out, '--manifest', folder + '/manifest.json', *words]
    _, second, _ = judge(*said[2:3], said[4], '--no-metrics', *said[5:])
    assert second['metrics'] == first['metrics'] and second['images'] == 4
