"""The original sample's command for evaluating a checkpoint; the work is done by ``centernet eval-pth``.

    python src/pth_eval.py --res_data_save_path=./pth_result

Takes the sample's flag, those of CenterNet's test.py that a user of the sample would give, and every flag of
``centernet eval-pth``.
"""

import argparse
import sys

from centernet.cli import main as centernet

#: flag of the sample or of test.py -> flag of eval-pth, for those that take a value and mean the same
_RENAMED = {
    'res_data_save_path': '--output',
    'load_model': '--weights',
    'data_dir': '--data',
    'test_scales': '--test-scales',
    'batch_size': '--batch-size',
    'num_workers': '--workers',
    'input_h': '--input-height',
    'input_w': '--input-width',
}
_SWITCHES = {'keep_res': '--keep-res', 'flip_test': '--flip-test'}


def translate(argv):
    """The words after ``pth_eval.py`` -> the words after ``centernet``. Exits as argparse does, for --help
    and for mistakes."""
    parser = argparse.ArgumentParser(
        prog='pth_eval.py',
        usage='%(prog)s [ctdet] [flags]',
        allow_abbrev=False,
        description=(
            "Evaluate a checkpoint, with the original sample's flags. Every flag of 'centernet eval-pth' is"
            ' taken as well.'
        ),
    )
    parser.add_argument(
        '--res_data_save_path', metavar='FOLDER', help='where results are written (now: --output)'
    )
    parser.add_argument('--load_model', metavar='FILE', help='checkpoint (now: --weights)')
    parser.add_argument('--data_dir', metavar='FOLDER', help="data set in COCO's layout (now: --data)")
    parser.add_argument(
        '--gpus',
        metavar='N',
        help='number of the GPU, -1 for the CPU; of several the first is used (now: --device)',
    )
    parser.add_argument(
        '--keep_res', action='store_true', help='keep the size of the images (now: --keep-res)'
    )
    parser.add_argument(
        '--fix_res', action='store_true', help="fit images into the network's input; this is the default"
    )
    parser.add_argument(
        '--flip_test', action='store_true', help='average with the mirrored image (now: --flip-test)'
    )
    parser.add_argument('--test_scales', metavar='LIST', help='e.g. 0.5,0.75,1,1.25,1.5 (now: --test-scales)')
    parser.add_argument(
        '--input_res',
        metavar='PIXELS',
        help='height and width of the input (now: --input-height, --input-width)',
    )
    parser.add_argument('--input_h', metavar='PIXELS', help='height of the input (now: --input-height)')
    parser.add_argument('--input_w', metavar='PIXELS', help='width of the input (now: --input-width)')
    parser.add_argument('--batch_size', metavar='N', help='now: --batch-size')
    parser.add_argument('--num_workers', metavar='N', help='now: --workers')
    parser.add_argument(
        '--not_prefetch_test', action='store_true', help='load no images ahead (now: --workers 0)'
    )
    parser.add_argument(
        '--exp_id', metavar='NAME', help='taken and not needed: results go to --res_data_save_path'
    )
    argv = list(argv)
    if argv and not argv[0].startswith('-'):
        task = argv.pop(0)
        if task != 'ctdet':
            parser.error(f"task '{task}': only ctdet is supported")
    old, words = parser.parse_known_args(argv)
    if old.keep_res and old.fix_res:
        parser.error('--keep_res and --fix_res contradict each other')
    words = [flag for name, flag in _SWITCHES.items() if getattr(old, name)] + words
    if old.input_res is not None:
        words = ['--input-height', old.input_res, '--input-width', old.input_res] + words
    for name, flag in _RENAMED.items():
        if getattr(old, name) is not None:
            words += [flag, getattr(old, name)]
    if old.not_prefetch_test:
        words += ['--workers', '0']
    if old.gpus is not None:
        words += ['--device', _device(old.gpus, parser)]
    return ['eval-pth'] + words


def _device(gpus, parser):
    first = gpus.split(',')[0].strip()
    if not first.lstrip('-').isdigit():
        parser.error(f"--gpus: '{gpus}' is not the number of a GPU, or -1 for the CPU")
    return 'cpu' if int(first) < 0 else f'cuda:{first}'


if __name__ == '__main__':
    sys.exit(centernet(translate(sys.argv[1:])))
