"""Outputs that arrive while they are judged."""

import os
import shutil
import threading
import time

from devices import stand_in

from centernet.devices.manifest import read_manifest


def test_outputs_are_judged_and_removed_as_they_arrive(dumped, device, judge, expected, tmp_path):
    folder = dumped('--layout', 'ais')
    done = stand_in.ais_bench(device(), os.path.join(folder, 'inputs'), str(tmp_path / 'done'), summary=False)
    out = tmp_path / 'out'
    out.mkdir()

    def arrive():
        time.sleep(0.5)
        for name in sorted(os.listdir(done + '/run')):
            with open(os.path.join(done, 'run', name), 'rb') as file:
                content = file.read()
            with open(str(out / name), 'wb') as file:
                file.write(content[: len(content) // 2])  # as long as float16
                file.flush()
                time.sleep(0.03)
                file.write(content[len(content) // 2 :])

    writer = threading.Thread(target=arrive)
    writer.start()
    try:
        status, found, err = judge(str(out), folder, '--watch', '20', '--delete')
    finally:
        writer.join()
    assert status == 0, err
    assert found['metrics'] == expected
    kept = read_manifest(folder).files[:8]
    assert sorted(os.listdir(str(out))) == sorted(f'{file.stem}_{n}.bin' for file in kept for n in range(3))


def test_what_does_not_arrive_is_missing(dumped, device, judge, tmp_path):
    folder = dumped('--layout', 'ais')
    out = stand_in.ais_bench(device(), os.path.join(folder, 'inputs'), str(tmp_path / 'out'), summary=False)
    last = read_manifest(folder).files[-1].stem
    os.unlink(os.path.join(out, 'run', f'{last}_0.bin'))
    status, found, err = judge(out, folder, '--watch', '2', '--no-metrics')
    assert status == 1
    assert found['images'] == 9 and f'output number 0 of {last}, hm, is missing' in err


def test_damaged_outputs_are_not_removed(dumped, device, judge, tmp_path):
    folder = dumped('--layout', 'ais')
    out = stand_in.ais_bench(device(), os.path.join(folder, 'inputs'), str(tmp_path / 'out'), summary=False)
    last = read_manifest(folder).files[-1].stem
    with open(os.path.join(out, 'run', f'{last}_0.bin'), 'r+b') as file:
        file.truncate(100)
    status, _, _ = judge(out, folder, '--delete', '--no-metrics', '--batch-size', '4')
    assert status == 1
    left = {name.split('_')[0] for name in os.listdir(os.path.join(out, 'run'))}
    assert left == {file.stem for file in read_manifest(folder).files[:8]} | {last}


def test_nothing_arrives(dumped, judge, tmp_path):
    (tmp_path / 'out').mkdir()
    status, _, err = judge(str(tmp_path / 'out'), dumped('--layout', 'ais'), '--watch', '0.5')
    assert status == 2 and 'none of the 10 images could be read; the first: the outputs of' in err


def test_an_interrupted_run_goes_on_without_the_removed_files(dumped, device, judge, expected, tmp_path):
    folder = dumped('--layout', 'ais')
    out = stand_in.ais_bench(device(), os.path.join(folder, 'inputs'), str(tmp_path / 'out'), summary=False)
    everything = shutil.copytree(out, str(tmp_path / 'all'))
    last = read_manifest(folder).files[-1].stem
    for number in range(3):
        os.unlink(os.path.join(out, 'run', f'{last}_{number}.bin'))
    assert judge(out, folder, '--delete', '--no-metrics')[0] == 1
    for number in range(3):
        name = f'{last}_{number}.bin'
        shutil.copy(os.path.join(everything, 'run', name), os.path.join(out, 'run', name))
    status, found, err = judge(out, folder, '--delete', '--resume')
    assert status == 0, err
    assert found['metrics'] == expected
