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
    assert (flags.arch, flags.weights, flags.data) == ('dla_34', ['m.pth'], 'coco')
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
        ['m.pth'],
    )


def test_hyphens_and_underscores():
    """test.py spells its options with underscores, eval-pth with hyphens; here both are taken."""
    flags = understood(
        'ctdet --load-model m.pth --flip-test --test-scales=1,0.5 --max_detections 7 --weights_key=ema'
        ' --save_images 3 --on_bad_image skip --exp-id a_b --output a_b --annotations=c_d.json'
    )
    assert (flags.weights, flags.flip_test, flags.test_scales) == (['m.pth'], True, (1.0, 0.5))
    assert (flags.max_detections, flags.weights_key, flags.save_images) == (7, 'ema', 3)
    assert (flags.on_bad_image, flags.output, flags.annotations) == ('skip', 'a_b', 'c_d.json')


def test_the_number_of_detections():
    assert understood('ctdet --K 40').max_detections == 40
    assert understood('ctdet').max_detections == 100


def test_defaults_of_test_py_that_are_given():
    flags = understood('ctdet --input_res -1 --input_h -1 --input_w -1 --down_ratio 4 --dataset coco')
    assert (flags.input_height, flags.input_width) == (None, None)


def test_a_size_that_keep_res_does_not_use(capsys):
    flags = understood('ctdet --keep_res --input_res 512')
    assert (flags.keep_res, flags.input_height, flags.input_width) == (True, None, None)
    assert "the input's is ignored" in capsys.readouterr().err


PASCAL = ['--normalization', 'pascal']


@pytest.mark.parametrize(
    'words, expected',
    [
        ('', PASCAL + ['--input-height', '384', '--input-width', '384']),
        ('--keep_res', PASCAL + ['--keep-res']),
        ('--input_res 512', PASCAL + ['--input-height', '512', '--input-width', '512']),
        ('--input_h 512', PASCAL + ['--input-height', '512', '--input-width', '384']),
        ('--input-width 512', PASCAL + ['--input-height', '384', '--input-width', '512']),
        ('--normalization half --keep_res', ['--keep-res', '--normalization', 'half']),
    ],
)
def test_pascal(words, expected):
    assert (
        translate(['ctdet', '--dataset', 'pascal'] + words.split())
        == ['eval-pth', '--output', './pth_result'] + expected
    )


@pytest.mark.parametrize(
    'words, said',
    [
        ('--lr 1e-4 --exp_id a --seed 3 --dense_hp', 'need them: --lr, --seed, --dense_hp, --exp_id'),
        ('--resume --load_model m.pth', '--resume continues an interrupted evaluation'),
    ],
)
def test_what_is_ignored_is_said_in_one_line(capsys, words, said):
    plain = understood('ctdet --load_model m.pth')
    capsys.readouterr()
    flags = understood('ctdet --load_model m.pth ' + words)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith('centernet: ') and said in lines[0]
    assert dict(vars(flags), resume=False) == vars(plain)


def options_of_test_py():
    """The names of the options in CenterNet's opts.py, and whether they take a value."""
    switches = (
        'test resume not_cuda_benchmark hide_data_time save_all trainval flip_test nms not_prefetch_test'
        ' fix_res not_rand_crop no_color_aug rect_mask mse_loss norm_wh dense_wh cat_spec_wh not_reg_offset'
        ' dense_hp not_hm_hp not_reg_hp_offset not_reg_bbox'
    )
    values = (
        'exp_id debug demo load_model gpus num_workers seed print_iter metric vis_thresh debugger_theme arch'
        ' head_conv input_res input_h input_w lr lr_step num_epochs batch_size master_batch_size num_iters'
        ' val_intervals test_scales K shift scale rotate flip aug_rot aug_ddd kitti_split reg_loss hm_weight'
        ' off_weight wh_weight hp_weight hm_hp_weight dep_weight dim_weight rot_weight peak_thresh'
        ' scores_thresh center_thresh aggr_weight'
    )
    return [f'--{name}' for name in switches.split()] + [f'--{name} 1' for name in values.split()]


def test_every_option_of_test_py_is_known():
    given = options_of_test_py()
    flags = understood('ctdet --annotations a.json --dataset coco --down_ratio 4 ' + ' '.join(given))
    assert (flags.weights, flags.device, flags.max_detections, flags.workers) == (['1'], 'cuda:1', 1, 0)


@pytest.mark.parametrize(
    'words, message',
    [
        ('multi_pose', 'only ctdet is supported'),
        ('--keep_res --fix_res', 'exclude'),
        ('ctdet --down_ratio 2', "invalid choice: '2'"),
        ('ctdet --dataset kitti', "invalid choice: 'kitti'"),
        ('ctdet --trainval', 'no ground truth: use --annotations'),
        ('ctdet --eval_oracle_wh', 'unrecognized arguments: --eval-oracle-wh'),
        ('ctdet --exp_id coco_dla --resume', 'exp/ctdet/coco_dla/model_last.pth with --load_model'),
    ],
)
def test_mistakes(capsys, words, message):
    with pytest.raises(SystemExit) as leaving:
        understood(words)
    assert leaving.value.code == 2
    assert message in capsys.readouterr()[1]


def test_help_names_what_is_taken(capsys):
    with pytest.raises(SystemExit) as leaving:
        translate(['--help'])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    for name in ('--load_model', '--dataset', '--K', '--trainval', '--gpus', '--resume'):
        assert name in text


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
