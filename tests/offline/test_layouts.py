"""Every layout there and back, on a stand-in for the device: the figures are those of eval-onnx."""

import os

import pytest
from offline import stand_in

#: the order in which benchmark of the original sample has them
OTHER_ORDER = ('wh', 'reg', 'hm')


def run_ais(device, folder, output):
    return stand_in.ais_bench(device, os.path.join(folder, 'inputs'), output)


def run_ais_arrays(device, folder, output):
    return stand_in.ais_bench(device, os.path.join(folder, 'inputs'), output, outfmt='NPY')


def run_ais_by_names(device, folder, output):
    stand_in.ais_bench(device, os.path.join(folder, 'inputs'), output, summary=False)
    return os.path.join(output, 'run')


def run_benchmark(device, folder, output):
    return stand_in.benchmark(device, folder, output)


def run_msame(device, folder, output):
    return stand_in.msame(device, os.path.join(folder, 'inputs'), output)


def run_raw(device, folder, output):
    return stand_in.trtexec(device, os.path.join(folder, 'inputs'), output)


def run_polygraphy(device, folder, output):
    return stand_in.polygraphy(device, os.path.join(folder, 'inputs'), output)


RUNS = [
    (run_ais, 'ais', 'ais_bench, by its summary'),
    (run_ais_arrays, 'ais', 'ais_bench, by its summary'),
    (run_ais_by_names, 'ais', 'files numbered from 0'),
    (run_benchmark, 'benchmark', 'files numbered from 1'),
    (run_msame, 'ais', 'files numbered from 0'),
    (run_raw, 'trtexec', "trtexec's raw bindings"),
    (run_polygraphy, 'polygraphy', 'Polygraphy'),
]


@pytest.mark.parametrize('batch, dtype', [(1, 'float32'), (4, 'float32'), (1, 'float16'), (4, 'float16')])
@pytest.mark.parametrize('run, layout, tool', RUNS, ids=[run.__name__[4:] for run, _, _ in RUNS])
def test_there_and_back(run, layout, tool, batch, dtype, dumped, device, judge, expected, tmp_path):
    if run is run_msame and batch > 1:
        pytest.skip('msame feeds one file at a time')
    in_files = layout in ('trtexec', 'polygraphy')
    folder = dumped('--layout', layout, *(['--batch', str(batch)] if in_files and batch > 1 else []))
    order = OTHER_ORDER if run is run_benchmark else stand_in.HEADS
    outputs = run(device(batch=batch, dtype=dtype, outputs=order), folder, str(tmp_path / 'out'))
    status, found, err = judge(outputs, folder, '--no-metrics')
    assert status == 0, err
    assert tool in err
    if dtype == 'float32':
        assert found['metrics'] == expected
    else:
        assert found['metrics']['AP'] == pytest.approx(expected['AP'], abs=0.005)
    assert found['comparison']['explanation']['precision'] == dtype
    assert found['comparison']['explanation']['mistakes'] == []
    assert found['network']['order'] and found['failed_images'] == {}


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
    outputs = run_ais(device(), folder, str(tmp_path / 'out'))
    status, _, err = judge(outputs, folder, '--report')
    assert status == 0, err
    page = (tmp_path / 'judged' / 'report.html').read_text(encoding='utf-8')
    assert '0 of 10 images differ' in page and 'centernet eval-outputs' in page
