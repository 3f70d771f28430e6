"""Every layout there and back, on a stand-in for the device: the figures are those of eval-onnx."""

import os

import pytest
from devices import stand_in

#: the order in which benchmark of the original sample has them
OTHER_ORDER = ('wh', 'reg', 'hm')


def without_summary(device, inputs, output):
    return stand_in.ais_bench(device, inputs, output, summary=False) + '/run'


def npy(device, inputs, output):
    return stand_in.ais_bench(device, inputs, output, outfmt='NPY')


def benchmark(device, inputs, output):
    return stand_in.benchmark(device, os.path.dirname(inputs), output)


RUNS = [
    (stand_in.ais_bench, 'ais', 'ais_bench, by its summary'),
    (npy, 'ais', 'ais_bench, by its summary'),
    (without_summary, 'ais', 'files numbered from 0'),
    (benchmark, 'benchmark', 'files numbered from 1'),
    (stand_in.msame, 'ais', 'files numbered from 0'),
    (stand_in.trtexec, 'trtexec', "trtexec's raw bindings"),
    (stand_in.polygraphy, 'polygraphy', 'Polygraphy'),
]


@pytest.mark.parametrize('batch, dtype', [(1, 'float32'), (4, 'float32'), (1, 'float16'), (4, 'float16')])
@pytest.mark.parametrize('run, layout, tool', RUNS, ids=[run.__name__ for run, _, _ in RUNS])
def test_there_and_back(run, layout, tool, batch, dtype, dumped, device, judge, expected, tmp_path):
    if run is stand_in.msame and batch > 1:
        pytest.skip('msame feeds one file at a time')
    in_files = layout in ('trtexec', 'polygraphy')
    folder = dumped('--layout', layout, *(['--batch', str(batch)] if in_files and batch > 1 else []))
    order = OTHER_ORDER if run is benchmark else stand_in.HEADS
    inputs, target = os.path.join(folder, 'inputs'), str(tmp_path / 'out')
    outputs = run(device(batch=batch, dtype=dtype, outputs=order), inputs, target)
    status, found, err = judge(outputs, folder, '--no-metrics')
    assert status == 0, err
    assert tool in err
    if layout in ('ais', 'benchmark'):
        assert f'outputs 0, 1, 2 are {", ".join(order)}' in err
    if dtype == 'float32':
        assert found['metrics'] == expected
    else:
        assert found['metrics']['AP'] == pytest.approx(expected['AP'], abs=0.005)
    assert found['comparison']['explanation']['precision'] == dtype
    assert found['comparison']['explanation']['mistakes'] == []
    assert found['comparison']['order']['heads'] and found['failed_images'] == {}


@pytest.mark.parametrize('batch', [1, 4])
def test_the_json_of_trtexec_has_six_digits(batch, dumped, device, judge, expected, tmp_path):
    folder = dumped('--layout', 'trtexec', '--batch', str(batch))
    out = stand_in.trtexec(
        device(batch=batch), os.path.join(folder, 'inputs'), str(tmp_path / 'out'), raw=False
    )
    status, found, err = judge(out, folder, '--no-metrics')
    assert status == 0 and "trtexec's JSON" in err
    assert found['metrics']['AP'] == pytest.approx(expected['AP'], abs=0.002)


def test_a_report_about_what_differs(dumped, device, judge, tmp_path):
    folder = dumped('--layout', 'ais')
    outputs = stand_in.ais_bench(device(), os.path.join(folder, 'inputs'), str(tmp_path / 'out'))
    status, _, err = judge(outputs, folder, '--report')
    assert status == 0, err
    page = (tmp_path / 'judged' / 'report.html').read_text(encoding='utf-8')
    assert '0 of 10 images differ' in page and 'centernet eval-outputs' in page
