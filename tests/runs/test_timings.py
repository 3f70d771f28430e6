import numpy as np
import pytest
from support.painted import PaintNetwork
from support.runs import run

from centernet.runs.timings import STAGES, ImageTimes, format_timings, summarise, warm_up_batches


def times(net, warm_up=False):
    return ImageTimes(load=1.0, pre=2.0, net=net, dec=0.5, post=0.25, wall=2 * net, warm_up=warm_up)


def test_statistics():
    summary = summarise([times(1000.0, warm_up=True)] + [times(float(value)) for value in range(1, 101)])
    assert summary['images'] == 101
    assert summary['warm_up_images'] == 1
    assert summary['total_ms'] == pytest.approx(2 * (1000 + 5050))
    assert summary['mean_ms'] == pytest.approx(2 * 6050 / 101)
    assert summary['images_per_second'] == pytest.approx(1000 * 100 / (2 * 5050))
    assert summary['stages_ms']['net'] == pytest.approx({'mean': 50.5, 'median': 50.5, 'p95': 95.05})
    assert summary['stages_ms']['pre'] == {'mean': 2.0, 'median': 2.0, 'p95': 2.0}


def test_a_run_that_is_all_warm_up_counts_entirely():
    summary = summarise([times(4.0, warm_up=True), times(8.0, warm_up=True)])
    assert summary['warm_up_images'] == 0
    assert summary['stages_ms']['net']['mean'] == 6.0


def test_warm_up_never_takes_more_than_a_quarter_of_a_long_run():
    assert [warm_up_batches(batches) for batches in (0, 1, 2, 11, 12, 1000)] == [0, 0, 1, 1, 3, 3]


def test_the_table_says_what_was_omitted():
    text = format_timings(summarise([times(9.0, warm_up=True), times(3.0)]))
    assert '1 warm-up images' in text
    assert [line.split()[0] for line in text.splitlines()[1:-1]] == list(STAGES)
    assert text.splitlines()[-1] == '2 images, total 24.0 ms, mean 12.00 ms, 166.7 images per second'
    assert 'no warm-up' in format_timings(summarise([times(3.0)]))


def test_the_loop_measures_the_network(data, tmp_path):
    timings = run(data, tmp_path / 'out', PaintNetwork(seconds_per_batch=0.04), batch_size=4).timings
    stages = timings['stages_ms']
    assert 10 <= stages['net']['median'] < 100  # 40 ms for 4 images, and what the machine adds
    assert timings['warm_up_images'] == 4
    assert timings['images'] == 12
    assert timings['total_ms'] >= 3 * 40
    assert all(stages[stage]['mean'] > 0 for stage in STAGES)
    assert np.isfinite(timings['images_per_second'])
