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
_RENAMED = (
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
_SIZES = (
    ('input_res', 'height and width', ('--input-height', '--input-width')),
    ('input_h', 'height', ('--input-height',)),
    ('input_w', 'width', ('--input-width',)),
)
#: --dataset -> what it means for an evaluation: words for eval-pth, the side of the input
_DATASETS = {'coco': ([], None), 'pascal': (['--normalization', 'pascal'], '384')}
#: why it is ignored; names of options that take a value, and of switches
_IGNORED = (
    (
        'of the training',
        'lr lr_step num_epochs master_batch_size num_iters val_intervals metric print_iter shift scale rotate'
        ' flip reg_loss hm_weight off_weight wh_weight seed',
        'save_all hide_data_time not_rand_crop no_color_aug mse_loss norm_wh dense_wh test'
        ' not_cuda_benchmark',
    ),
    (
        'of another task',
        'aug_rot aug_ddd kitti_split hp_weight hm_hp_weight dep_weight dim_weight rot_weight peak_thresh'
        ' scores_thresh center_thresh aggr_weight',
        'rect_mask dense_hp not_hm_hp not_reg_hp_offset not_reg_bbox',
    ),
    ('read from the checkpoint', 'head_conv', 'not_reg_offset cat_spec_wh'),
    ('results go to --res_data_save_path', 'exp_id', ''),
    ('--save-images N draws detections', 'debug demo vis_thresh debugger_theme', ''),
)
#: options that would change the result
_REFUSED = (
    'agnostic_ex eval_oracle_hm eval_oracle_wh eval_oracle_offset eval_oracle_kps eval_oracle_hmhp'
    ' eval_oracle_hp_offset eval_oracle_dep'
)
#: where the sample wrote its results
OUTPUT = './pth_result'


def translate(argv: Sequence[str]) -> List[str]:
    """The words after ``pth_eval.py`` -> the words after ``centernet``.

    Prints what is ignored, or means something else than in test.py, to stderr. Exits as argparse does, for
    --help and for mistakes.
    """
    parser = _parser()
    argv = list(argv)
    if argv and not argv[0].startswith('-'):
        task = argv.pop(0)
        if task != 'ctdet':
            parser.error(f"task '{task}': only ctdet is supported")
    known = vars(parser.parse_known_args([])[0])
    old, rest = parser.parse_known_args([_spelled(word, '-', '_', known) for word in argv])
    rest = [_spelled(word, '_', '-') for word in rest]
    given = {word.partition('=')[0] for word in rest}
    _check(old, given, parser)
    words = ['eval-pth'] + ([] if '--output' in given else ['--output', OUTPUT])
    words += _dataset(old, given)
    words += _sizes(old)
    for name, option, _ in _RENAMED:
        if getattr(old, name) is not None:
            words += [option, getattr(old, name)]
    words += [option for name, option, _ in _SWITCHES if getattr(old, name)]
    if old.gpus is not None:
        words += ['--device', _device(old.gpus, parser)]
    for text, valued, switches in _IGNORED:
        names = [
            name for name in (valued + ' ' + switches).split() if getattr(old, name) not in (None, False)
        ]
        if names:
            _say(f'not needed: {", ".join("--" + name for name in names)} ({text})')
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
    for name, option, text in _RENAMED:
        parser.add_argument('--' + name, metavar='VALUE', help=f'{text} (now: {option})')
    for name, option, text in _SWITCHES:
        parser.add_argument('--' + name, action='store_true', help=f'{text} (now: {option})')
    parser.add_argument(
        '--fix_res', action='store_true', help="fit each image into the network's input; the default"
    )
    for name, text, options in _SIZES:
        parser.add_argument(
            '--' + name,
            metavar='PIXELS',
            help=f"{text} of the network's input (now: {' and '.join(options)})",
        )
    parser.add_argument(
        '--gpus',
        metavar='N',
        help='the GPU, -1 for the CPU; only the first of a list is used (now: --device)',
    )
    parser.add_argument(
        '--dataset', metavar='NAME', help='coco, or pascal for its normalization and its 384 x 384 input'
    )
    parser.add_argument(
        '--trainval', action='store_true', help='not done without --annotations: test-dev has no ground truth'
    )
    parser.add_argument('--down_ratio', metavar='4', help='4; others are not done')
    for _, valued, switches in _IGNORED:
        for name in valued.split():
            parser.add_argument('--' + name, help=argparse.SUPPRESS)
        for name in switches.split():
            parser.add_argument('--' + name, action='store_true', help=argparse.SUPPRESS)
    for name in _REFUSED.split():
        parser.add_argument('--' + name, action='store_true', help=argparse.SUPPRESS)
    return parser


def _check(old, given, parser):
    """Refuse what contradicts itself, and what would change the result and is not done."""
    if old.keep_res and old.fix_res:
        parser.error('--keep_res and --fix_res exclude each other')
    if old.dataset not in (None, *_DATASETS):
        parser.error(f'--dataset {old.dataset}: only {" and ".join(_DATASETS)} are supported')
    if old.down_ratio not in (None, '4'):
        parser.error(f'--down_ratio {old.down_ratio}: only 4 is supported')
    for name in _REFUSED.split():
        if getattr(old, name):
            parser.error(f'--{name} would change the result, and is not supported')
    if old.trainval and '--annotations' not in given:
        parser.error('--trainval evaluates test-dev, which has no ground truth: use --annotations')
    if old.resume:
        if old.exp_id and old.load_model is None and '--weights' not in given:
            parser.error(
                f'--resume: test.py takes exp/ctdet/{old.exp_id}/model_last.pth; name it with --load_model'
            )
        _say('--resume continues an interrupted evaluation; the checkpoint is the one of --load_model')


def _dataset(old, given):
    words, side = _DATASETS[old.dataset or 'coco']
    if not words:
        return []
    words = [] if words[0] in given else list(words)
    if not old.keep_res:
        for option, value in (('--input-height', old.input_h), ('--input-width', old.input_w)):
            if option not in given and not _stated(value) and not _stated(old.input_res):
                words += [option, side]
    if words:
        _say(f"--dataset {old.dataset} means {' '.join(words)}; the figures are COCO's")
    return words


def _sizes(old):
    words = []
    for name, _, options in _SIZES:
        value = getattr(old, name)
        if not _stated(value):
            continue
        if old.keep_res:
            _say(f'--{name} is not used: --keep_res keeps the size of each image')
        else:
            words += [word for option in options for word in (option, value)]
    return words


def _stated(pixels):
    return pixels not in (None, '-1')  # test.py's default


def _device(gpus, parser):
    first = gpus.split(',')[0].strip()
    if not first.lstrip('-').isdigit():
        parser.error(f"--gpus: '{gpus}' is not the number of a GPU, or -1 for the CPU")
    return 'cpu' if int(first) < 0 else f'cuda:{first}'


def _spelled(word, before, after, known=None):
    """An option with another separator in its name, if the name is then known; other words as they are."""
    if not word.startswith('--'):
        return word
    name, equals, value = word[2:].partition('=')
    name = name.replace(before, after)
    return '--' + name + equals + value if known is None or name in known else word


def _say(text):
    print(f'centernet: {text}', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(centernet(translate(sys.argv[1:])))
