"""Outputs that are missing, damaged, foreign or of something else: one line for each."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from offline import stand_in
from support.painted import write_data

from centernet.offline.manifest import read_manifest


@pytest.fixture
def outputs(dumped, device, tmp_path):
    """A function: layout -> (folder of the dump, folder of the outputs)."""

    def write(layout='ais', **options):
        folder = dumped('--layout', layout)
        inputs, target = os.path.join(folder, 'inputs'), str(tmp_path / 'out')
        if layout == 'trtexec':
            stand_in.trtexec(device(**options), inputs, target)
        elif layout == 'polygraphy':
            stand_in.polygraphy(device(**options), inputs, target)
        else:
            stand_in.ais_bench(device(**options), inputs, target, summary=False)
            target = os.path.join(target, 'run')
        return folder, target

    return write


def stem(folder, place=-1):
    return read_manifest(folder).files[place].stem


def path_of(folder, out, number, place=-1):
    return os.path.join(out, f'{stem(folder, place)}_{number}.bin')


def failures(err):
    """The lines behind "could not be read"."""
    lines = err.splitlines()
    start = next(place for place, line in enumerate(lines) if 'could not be read:' in line)
    return [line.strip() for line in lines[start + 1 :] if re.match(r'  \d+: ', line)]


def test_a_truncated_file_is_named(outputs, judge):
    folder, out = outputs()
    path = path_of(folder, out, 0)
    with open(path, 'r+b') as file:
        file.truncate(1000)
    status, found, err = judge(out, folder, '--no-metrics')
    assert status == 1
    (line,) = failures(err)
    assert re.search(r'_0\.bin has 1000 bytes, but hm \[1, 4, 32, 32\] has 16384 in float32 and 8192', line)
    assert found['images'] == len(read_manifest(folder).files) - 1
    assert judge(out, folder, '--no-metrics', '--on-bad-image', 'skip')[0] == 0


def test_a_missing_file_is_named(outputs, judge):
    folder, out = outputs()
    os.unlink(path_of(folder, out, 2))
    for number in range(3):
        os.unlink(path_of(folder, out, number, -2))
    status, _, err = judge(out, folder, '--no-metrics')
    assert status == 1
    assert failures(err) == [
        f'{int(stem(folder, -2))}: the outputs of {stem(folder, -2)} are missing',
        f'{int(stem(folder))}: output number 2 of {stem(folder)}, reg, is missing',
    ]


def test_values_that_are_not_finite_are_named(outputs, judge):
    folder, out = outputs()
    path = path_of(folder, out, 1)
    values = np.fromfile(path, np.float32)
    values[[3, 4]] = np.nan, np.inf
    values.tofile(path)
    status, _, err = judge(out, folder, '--no-metrics')
    assert status == 1
    assert failures(err)[0].endswith('_1.bin has 2 values of wh that are infinite or NaN')


def test_an_output_too_many_is_named(outputs, judge):
    folder, out = outputs()
    shutil.copy(path_of(folder, out, 1), path_of(folder, out, 7))
    status, _, err = judge(out, folder, '--no-metrics')
    assert status == 1
    assert failures(err) == [f'{int(stem(folder))}: {stem(folder)} has an output too many (output number 7)']
    status, _, err = judge(out, folder, '--no-metrics', '--order', 'hm,wh')
    assert status == 2 and '--order hm,wh: name each of the 3 outputs once' in err


def test_files_of_other_inputs_are_named(outputs, judge):
    folder, out = outputs()
    shutil.copy(path_of(folder, out, 1), os.path.join(out, '000000999999_1.bin'))
    status, _, err = judge(out, folder, '--no-metrics')
    assert status == 0
    assert 'warning: 1 file belongs to none of the inputs: 000000999999_1.bin' in err


def test_outputs_of_other_inputs_alone_are_refused(outputs, judge, dumped):
    _, out = outputs()
    other = os.path.join(dumped('--layout', 'ais', '--shard', '2/2', '--limit', '30'), 'shard-2-of-2')
    for name in os.listdir(out):
        if int(name.split('_')[0]) in read_manifest(other).image_ids:
            os.unlink(os.path.join(out, name))
    status, _, err = judge(out, other, '--no-metrics')
    assert status == 2
    assert 'has outputs of other inputs (such as ' in err and '--manifest' in err


def test_a_summary_of_another_run_is_refused(dumped, device, judge, tmp_path):
    other = dumped('--layout', 'benchmark')
    folder = dumped('--layout', 'ais')
    out = stand_in.ais_bench(device(), os.path.join(folder, 'inputs'), str(tmp_path / 'out'))
    status, _, err = judge(out, other)
    assert status == 2 and 'of a run on other inputs (/device/data/000000000139.bin)' in err
    (tmp_path / 'out' / 'run_summary.json').write_text('{"filesinfo": {"0": {"infiles": 3}}}')
    status, _, err = judge(out, folder)
    assert status == 2 and 'run_summary.json is damaged: remove it' in err


def test_text_is_too_coarse(dumped, device, judge, tmp_path):
    folder = dumped('--layout', 'ais')
    out = stand_in.ais_bench(device(), os.path.join(folder, 'inputs'), str(tmp_path / 'out'), outfmt='TXT')
    status, _, err = judge(out, folder)
    assert status == 2 and 'too coarse' in err and '--outfmt BIN' in err


def test_an_empty_folder_and_none(dumped, judge, tmp_path):
    folder = dumped('--layout', 'ais')
    (tmp_path / 'empty').mkdir()
    status, _, err = judge(str(tmp_path / 'empty'), folder)
    assert status == 2 and 'has no outputs, such as 000000000139_0.bin' in err
    status, _, err = judge(str(tmp_path / 'none'), folder)
    assert status == 2 and 'no such folder of outputs' in err


def test_outputs_of_another_network_are_refused(outputs, judge):
    folder, out = outputs()
    for name in os.listdir(out):
        with open(os.path.join(out, name), 'r+b') as file:
            file.truncate(4 * 7)
    status, _, err = judge(out, folder)
    assert status == 2
    assert (
        'these 3 outputs are not those of this network, which has hm (4), wh (2), reg (2) with 32 x 32 cells'
        in err
    )


def test_outputs_that_cannot_be_told_apart_need_an_order(outputs, judge):
    def same(found, _):
        return dict(found, wh=found['reg'])

    folder, out = outputs(change=same)
    status, _, err = judge(out, folder, '--no-metrics')
    assert status == 2 and 'cannot tell which output is which' in err and '--order' in err
    status, _, err = judge(out, folder, '--no-metrics', '--order', 'hm,wh,reg')
    assert status == 1 and 'NOT the same model' in err


def test_without_reference_images_the_order_must_be_given(outputs, judge):
    folder, out = outputs()
    for name in os.listdir(out):
        if not name.startswith(stem(folder)):
            os.unlink(os.path.join(out, name))
    status, _, err = judge(out, folder)
    assert status == 2 and 'none of the reference images has outputs; give --order' in err
    image_id = str(int(stem(folder)))
    status, found, err = judge(out, folder, '--ids', image_id, '--order', 'hm,wh,reg', '--no-metrics')
    assert status == 1 and found['images'] == 1
    assert 'NOT verified: no reference image has outputs' in err


def test_two_runs_in_one_folder_are_refused(outputs, judge):
    folder, out = outputs()
    shutil.copytree(out, os.path.join(os.path.dirname(out), 'earlier'))
    status, _, err = judge(os.path.dirname(out), folder)
    assert status == 2 and 'are the same output of two runs: name the folder of one' in err


def test_an_output_that_is_lacking_is_a_difference(outputs, judge):
    folder, out = outputs(outputs=('hm', 'wh'))
    status, _, err = judge(out, folder, '--no-metrics')
    assert status == 1
    assert (
        'the outputs lack reg, which the checkpoint has' in err and 'difference: the outputs lack reg' in err
    )


def test_named_outputs_need_no_order(outputs, judge):
    folder, out = outputs('trtexec')
    status, _, err = judge(out, folder, '--order', 'hm,wh,reg')
    assert status == 2 and '--order is for outputs without names; these are called hm, reg, wh' in err


# trtexec and Polygraphy


def test_damaged_json_of_trtexec(dumped, device, judge, tmp_path):
    folder = dumped('--layout', 'trtexec')
    out = stand_in.trtexec(device(), os.path.join(folder, 'inputs'), str(tmp_path / 'out'), raw=False)
    last = os.path.join(out, stem(folder) + '.json')
    with open(last) as file:
        text = file.read()
    with open(last, 'w') as file:
        file.write(text[:500])
    status, _, err = judge(out, folder, '--no-metrics')
    assert status == 1 and failures(err)[0].endswith('.json is truncated or damaged')


def change_results(out, change):
    path = os.path.join(out, 'outputs.json')
    with open(path) as file:
        content = json.load(file)
    change(content)
    with open(path, 'w') as file:
        json.dump(content, file)


def as_pickles(content):
    for result in content['lst'][0][1]:
        result['outputs']['hm']['values'] = {'array': 'gASVBAAAAAAAAABLAS4=', 'polygraphy_class': 'Tensor'}


def with_two_runners(content):
    content['lst'].append(['onnxrt-runner-N0', content['lst'][0][1]])


def without_the_last(content):
    content['lst'][0][1].pop()


@pytest.mark.parametrize(
    'change, said',
    [
        (as_pickles, 'hm is a Tensor, a pickle, which may run code: save arrays'),
        (with_two_runners, 'has results of 2 runners: save those of one'),
        (without_the_last, 'by their order alone, and here are 9 for 10 input files'),
    ],
)
def test_results_of_polygraphy_that_are_refused(outputs, judge, change, said):
    folder, out = outputs('polygraphy')
    change_results(out, change)
    status, _, err = judge(out, folder)
    assert status == 2 and said in err.splitlines()[-1]


def test_an_array_of_polygraphy_with_objects_is_damaged(outputs, judge):
    folder, out = outputs('polygraphy')

    def with_objects(content):
        content['lst'][0][1][-1]['outputs']['wh'] = {'values': array, 'polygraphy_class': 'LazyArray'}

    array = stand_in._array(np.array([{}, {}], object))
    change_results(out, with_objects)
    status, _, err = judge(out, folder, '--no-metrics')
    assert status == 1 and failures(err)[0].endswith('outputs.json is truncated or damaged')


# the manifest


def test_other_weights_and_data_and_protocol_are_refused(outputs, judge, tmp_path):
    folder, out = outputs()
    (tmp_path / 'other.pth').write_bytes(b'other')
    status, _, err = judge(out, folder, '--weights', str(tmp_path / 'other.pth'))
    assert status == 2 and 'was written for other weights' in err
    data = write_data(tmp_path / 'data', count=2)
    status, _, err = judge(out, folder, '--data', str(data))
    assert status == 2 and 'was written for other data' in err
    status, _, err = judge(out, folder, '--normalization', 'half')
    assert status == 2 and '--normalization half: the inputs of' in err
    status, _, err = judge(out, folder, '--input-height', '512')
    assert status == 2 and '--input-height 512: the inputs of' in err
    status, _, err = judge(out, folder, '--ids', '5')
    assert status == 2 and '--ids: ' in err and 'has no image with the id 5' in err


def test_a_run_is_not_resumed_with_another_manifest(outputs, judge, tmp_path):
    folder, out = outputs()
    assert judge(out, folder, '--no-metrics', '--limit', '8')[0] == 0
    assert judge(out, folder, '--no-metrics', '--resume')[0] == 0
    copy = str(tmp_path / 'copy')
    shutil.copytree(folder, copy)
    with open(os.path.join(copy, 'manifest.json')) as file:
        text = file.read()
    with open(os.path.join(copy, 'manifest.json'), 'w') as file:
        file.write(text.replace('"nms": false', '"nms": true'))
    status, _, err = judge(out, copy, '--no-metrics', '--resume')
    assert status == 2 and 'cannot resume' in err and 'manifest_sha256' in err
