import os
import runpy
import subprocess
import sys

import pytest

from centernet.cli import build_parser

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, 'src'))

translate = runpy.run_path(os.path.join(SOURCE, 'pth_eval.py'))['translate']


def understood(words):
    """What the new command makes of the old words."""
    return build_parser().parse_args(translate(words.split()))


def test_the_samples_own_command():
    flags = understood('--res_data_save_path=./pth_result')
    assert flags.output == './pth_result'
    assert (flags.weights, flags.data, flags.keep_res, flags.flip_test, flags.test_scales) == (
        None,
        None,
        False,
        False,
        (1.0,),
    )


def test_results_go_where_the_sample_put_them_unless_told_otherwise():
    assert understood('').output == './pth_result'
    assert understood('--output here').output == 'here'
    assert understood('--output=here').output == 'here'


def test_the_words_of_centernets_test_command():
    flags = understood(
        'ctdet --exp_id coco_dla --arch dla_34 --load_model m.pth --keep_res --flip_test --nms --gpus 1,2 '
        '--test_scales 0.5,1 --data_dir coco --num_workers 3 --batch_size 4'
    )
    assert (flags.arch, flags.weights, flags.data) == ('dla_34', 'm.pth', 'coco')
    assert (flags.keep_res, flags.flip_test, flags.nms, flags.test_scales) == (True, True, True, (0.5, 1.0))
    assert (flags.device, flags.workers, flags.batch_size) == ('cuda:1', 3, 4)


def test_sizes():
    flags = understood('--fix_res --input_res 384 --input_w 512')
    assert (flags.input_height, flags.input_width) == (384, 512)


def test_cpu_and_no_loading_ahead():
    flags = understood('--gpus -1 --not_prefetch_test')
    assert (flags.device, flags.workers) == ('cpu', 0)


def test_new_flags_are_taken_too():
    flags = understood('--res_data_save_path out --limit 10 --ids 1,2 --json --weights m.pth')
    assert (flags.output, flags.limit, flags.ids, flags.json, flags.weights) == (
        'out',
        10,
        (1, 2),
        True,
        'm.pth',
    )


@pytest.mark.parametrize(
    'words, message',
    [
        ('multi_pose', 'only ctdet is supported'),
        ('--keep_res --fix_res', 'exclude'),
        ('--gpus all', 'not the number of a GPU'),
    ],
)
def test_mistakes(capsys, words, message):
    with pytest.raises(SystemExit) as leaving:
        translate(words.split())
    assert leaving.value.code == 2
    assert message in capsys.readouterr()[1]


def test_it_runs_without_being_installed(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    run = subprocess.run(
        [
            sys.executable,
            os.path.join(SOURCE, 'pth_eval.py'),
            '--res_data_save_path',
            str(tmp_path / 'out'),
            '--load_model',
            str(tmp_path / 'nowhere.pth'),
        ],
        env=environment,
        stderr=subprocess.PIPE,
    )
    assert run.returncode == 2
    assert b'nowhere.pth' in run.stderr
    assert (tmp_path / 'out').is_dir()
