"""The original sample's command for evaluating a checkpoint; the work is done by ``centernet eval-pth``.

    python src/pth_eval.py --res_data_save_path=./pth_result
    python src/pth_eval.py ctdet --exp_id coco_dla --arch dla_34 --keep_res --load_model model.pth

Takes the sample's option, those of CenterNet's test.py, and every option of ``centernet eval-pth``. Names can
be spelled with underscores or hyphens. What an evaluation does not need is ignored, with one line; what would
change the result and is not done is an error.
"""

import argparse
import sys
from typing import List, Sequence

from centernet.cli import main as centernet

#: option of the sample or of test.py, the option of eval-pth that means the same, and help
_VALUES = (
    ('res_data_save_path', '--output', 'folder for the results'),
    ('load_model', '--weights', 'checkpoint'),
    ('data_dir', '--data', "data set in COCO's layout"),
    ('arch', '--arch', 'architecture'),
    ('test_scales', '--test-scales', 'such as 0.5,0.75,1,1.25,1.5'),
    ('K', '--max-detections', 'detections of each image'),
    ('batch_size', '--batch-size', 'images per batch'),
    ('num_workers', '--workers', 'processes that load images'),
)
_SWITCHES = (
    ('keep_res', '--keep-res', 'keep the size of each image'),
    ('flip_test', '--flip-test', 'average with the mirrored image'),
    ('nms', '--nms', 'apply soft-NMS at a single scale, too'),
    ('not_prefetch_test', '--workers=0', 'load no images ahead'),
    ('resume', '--resume', 'continue an interrupted evaluation'),
)
#: other options of test.py that mean something here, and help
_OTHERS = (
    ('input_res', "height and width of the network's input (now: --input-height and --input-width)"),
    ('input_h', "height of the network's input (now: --input-height)"),
    ('input_w', "width of the network's input (now: --input-width)"),
    ('gpus', 'the GPU, -1 for the CPU; only the first of a list is used (now: --device)'),
)
#: options of test.py that are ignored: those of the training, of other tasks and of its debugger
_IGNORED = (
    'lr lr_step num_epochs master_batch_size num_iters val_intervals metric print_iter shift scale rotate'
    ' flip reg_loss hm_weight off_weight wh_weight seed save_all hide_data_time not_rand_crop no_color_aug'
    ' mse_loss norm_wh dense_wh test not_cuda_benchmark aug_rot aug_ddd kitti_split hp_weight hm_hp_weight'
    ' dep_weight dim_weight rot_weight peak_thresh scores_thresh center_thresh aggr_weight rect_mask'
    ' dense_hp not_hm_hp not_reg_hp_offset not_reg_bbox head_conv not_reg_offset cat_spec_wh exp_id debug'
    ' demo vis_thresh debugger_theme'
)
#: where the sample wrote its results
OUTPUT = './pth_result'


def translate(argv: Sequence[str]) -> List[str]:
    """The words after ``pth_eval.py`` -> the words after ``centernet``.

    Prints what is ignored, or means something else than in test.py, to stderr. Exits as argparse does, for
    --help and for mistakes.
    """
    parser = _parser()
    argv = [_spelled(word, '-', '_') for word in argv]
    if argv and not argv[0].startswith('-'):
        task = argv.pop(0)
        if task != 'ctdet':
            parser.error(f"task '{task}': only ctdet is supported")
    old, rest = parser.parse_known_args(argv)
    rest = [_spelled(word, '_', '-') for word in rest]
    given = {word.partition('=')[0] for word in rest}
    if old.keep_res and old.fix_res:
        parser.error('--keep_res and --fix_res exclude each other')
    if old.trainval and '--annotations' not in given:
        parser.error('--trainval evaluates test-dev, which has no ground truth: use --annotations')
    if old.resume and old.exp_id and old.load_model is None and '--weights' not in given:
        parser.error(f'--resume: name exp/ctdet/{old.exp_id}/model_last.pth with --load_model')
    if old.resume:
        _say('--resume continues an interrupted evaluation; the checkpoint is the one of --load_model')
    words = ['eval-pth'] + ([] if '--output' in given else ['--output', OUTPUT])
    words += _normalization_and_size(old, given)
    for name, option, _ in _VALUES + _SWITCHES:
        value = getattr(old, name)
        if value:
            words += [option] if value is True else [option, value]
    if old.gpus is not None:
        first = old.gpus.split(',')[0]
        words += ['--device', 'cpu' if first.startswith('-') else f'cuda:{first}']
    needless = ['--' + name for name in _IGNORED.split() if getattr(old, name) is not None]
    if needless:
        _say('ignored, as an evaluation does not need them: ' + ', '.join(needless))
    return words + rest


def _parser():
    parser = argparse.ArgumentParser(
        prog='pth_eval.py',
        usage='%(prog)s [ctdet] [options]',
        allow_abbrev=False,
        description="Evaluate a checkpoint with the options of the original sample and of CenterNet's"
        " test.py. Every option of 'centernet eval-pth' is taken as well.",
        epilog='What an evaluation does not need is taken and ignored, such as the options of the training,'
        ' --head_conv and --exp_id; one line says so.',
    )
    for name, option, text in _VALUES:
        parser.add_argument('--' + name, metavar='VALUE', help=f'{text} (now: {option})')
    for name, option, text in _SWITCHES:
        parser.add_argument('--' + name, action='store_true', help=f'{text} (now: {option})')
    for name, text in _OTHERS:
        parser.add_argument('--' + name, metavar='N', help=text)
    parser.add_argument('--fix_res', action='store_true', help='the default, without --keep_res')
    parser.add_argument('--dataset', choices=['coco', 'pascal'], help='its normalization and input size')
    parser.add_argument('--trainval', action='store_true', help='needs --annotations: no ground truth')
    parser.add_argument('--down_ratio', choices=['4'], help='the only value that is supported')
    for name in _IGNORED.split():
        parser.add_argument('--' + name, nargs='?', const='', help=argparse.SUPPRESS)
    return parser


def _normalization_and_size(old, given):
    """The words for --dataset, --input_res, --input_h and --input_w; -1 is test.py's default."""
    pascal = old.dataset == 'pascal'
    words = ['--normalization', 'pascal'] if pascal and '--normalization' not in given else []
    both, height, width = (
        value if value != '-1' else None for value in (old.input_res, old.input_h, old.input_w)
    )
    if old.keep_res:
        if both or height or width:
            _say("--keep_res keeps the size of each image: the input's is ignored")
        return words
    both = both or ('384' if pascal else None)
    for option, side in (('--input-height', height or both), ('--input-width', width or both)):
        if side and option not in given:
            words += [option, side]
    return words


def _spelled(word, before, after):
    """An option with another separator in its name; other words as they are."""
    if not word.startswith('--'):
        return word
    name, equals, value = word[2:].partition('=')
    return '--' + name.replace(before, after) + equals + value


def _say(text):
    print(f'centernet: {text}', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(centernet(translate(sys.argv[1:])))
