import ctypes
import glob
import os

import numpy as np
import pytest
import torch

from centernet import compat
from centernet.evaluation import TorchRunner
from centernet.models import create_model
from centernet.runners.threads import ThreadChooser


def spend(chooser, seconds, batches):
    """Run batches whose cost depends on the number of threads; returns the numbers that were chosen."""
    chosen = []
    for _ in range(batches):
        threads = chooser.choose()
        chosen.append(threads)
        chooser.report(threads, seconds[threads], work=1)
    return chosen


def test_both_settings_are_tried_and_the_faster_one_stays():
    assert (
        spend(ThreadChooser(8), {8: 1.0, 1: 3.0}, 20)
        == [8, 1, 8, 1] + [8] * 4 + [1] + [8] * 8 + [1] + [8] * 2
    )
    assert (
        spend(ThreadChooser(8), {8: 3.0, 1: 1.0}, 20)
        == [8, 1, 8, 1] + [1] * 4 + [8] + [1] * 8 + [8] + [1] * 2
    )


def test_the_first_batches_do_not_decide():
    chooser = ThreadChooser(4)
    spend(chooser, {4: 100.0, 1: 1.0}, 2)  # memory is fetched, code is made
    assert spend(chooser, {4: 1.0, 1: 2.0}, 6)[2:] == [4] * 4


def test_batches_of_another_size_count_by_their_work():
    chooser = ThreadChooser(2)
    for work in (1, 1, 1, 10):
        threads = chooser.choose()
        chooser.report(threads, {2: 2.0, 1: 1.0}[threads] * work, work)
    assert chooser.choose() == 1


def test_it_notices_when_the_machine_gets_busy_and_free_again():
    chooser = ThreadChooser(2)
    free, busy = {2: 1.0, 1: 1.8}, {2: 5.0, 1: 2.0}
    # a try of the other setting may be among them
    assert spend(chooser, free, 30)[-10:].count(2) >= 9
    assert spend(chooser, busy, 40)[-10:].count(1) >= 9
    assert spend(chooser, free, 600)[-10:].count(2) >= 9


def test_a_setting_that_loses_is_tried_ever_more_seldom():
    chosen = spend(ThreadChooser(2), {2: 100.0, 1: 1.0}, 2000)
    assert 15 <= chosen.count(2) <= 25
    assert 1 <= chosen[-256:].count(2) <= 2


def test_a_first_comparison_that_was_bad_luck_is_put_right_soon():
    chooser = ThreadChooser(2)
    spend(chooser, {2: 5.0, 1: 2.0}, 4)  # somebody else was busy just then
    assert spend(chooser, {2: 1.0, 1: 2.0}, 40)[5:].count(2) >= 32


@pytest.fixture
def threads_afterwards():
    before = torch.get_num_threads()
    yield
    compat.set_threads(before)


def openmp_threads():
    """What the OpenMP runtime that torch brought says."""
    libraries = glob.glob(os.path.join(os.path.dirname(torch.__file__), 'lib', 'libgomp*'))
    if not libraries:
        pytest.skip('this torch does not bring libgomp')
    return ctypes.CDLL(libraries[0]).omp_get_max_threads()


def test_the_number_reaches_the_convolutions(threads_afterwards):
    for threads in (1, 3, 2):
        compat.set_threads(threads)
        assert openmp_threads() == threads


def test_the_runner_says_how_many_it_used(threads_afterwards):
    model = create_model('dla_tiny', {'hm': 2, 'wh': 2, 'reg': 2})
    runner = TorchRunner(model, torch.device('cpu'), 2, threads=2, adapt_threads=True)
    for _ in range(5):
        runner(np.zeros((1, 3, 32, 32), np.float32))
    found = runner.describe()
    assert found['threads'] == 2
    assert sum(found['batches_by_threads'].values()) == 5
    assert min(found['batches_by_threads'].values()) >= 2
    fixed = TorchRunner(model, torch.device('cpu'), 2, threads=1, adapt_threads=True)
    assert 'batches_by_threads' not in fixed.describe()


@pytest.mark.parametrize('arch', ['dla_tiny', 'res_18', 'resdcn_18'])
def test_the_form_for_the_cpu_computes_the_same(arch):
    torch.manual_seed(5)
    model = create_model(arch, {'hm': 5, 'wh': 2, 'reg': 2}).eval()
    for parameter in model.parameters():  # so that no offset is 0
        parameter.data.uniform_(-0.05, 0.06)
    names = list(model.state_dict())
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = {name: head.clone() for name, head in model(images).items()}
        fast = compat.prepare_for_cpu(model)
        found, again = fast(images), model(images)
    for name, head in expected.items():
        assert found[name].shape == head.shape
        assert (found[name] - head).abs().max() < 1e-5 * head.abs().max()
        assert (again[name] - head).abs().max() < 1e-5 * head.abs().max()
    assert list(fast.state_dict()) == names
