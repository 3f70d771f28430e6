"""The original sample's command for evaluating a checkpoint; the work is done by ``centernet eval-pth``.

    python src/pth_eval.py --res_data_save_path=./pth_result

Takes the sample's option, those of CenterNet's test.py that its users know, and every option of
``centernet eval-pth``.
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
    ('test_scales', '--test-scales', 'such as 0.5,0.75,1,1.25,1.5'),
    ('batch_size', '--batch-size', 'images per batch'),
    ('num_workers', '--workers', 'processes that load images'),
    ('input_h', '--input-height', "height of the network's input"),
    ('input_w', '--input-width', "width of the network's input"),
)
_SWITCHES = (
    ('keep_res', '--keep-res', 'keep the size of each image'),
    ('flip_test', '--flip-test', 'average with the mirrored image'),
    ('not_prefetch_test', '--workers=0', 'load no images ahead'),
    ('fix_res', None, "fit each image into the network's input; the default"),
)
#: where the sample wrote its results
OUTPUT = './pth_result'


def translate(argv: Sequence[str]) -> List[str]:
    """The words after ``pth_eval.py`` -> the words after ``centernet``.

    Exits as argparse does, for --help and for mistakes.
    """
    parser = argparse.ArgumentParser(
        prog='pth_eval.py',
        usage='%(prog)s [ctdet] [options]',
        allow_abbrev=False,
        description="Evaluate a checkpoint with the original sample's options. Every option of"
        " 'centernet eval-pth' is taken as well.",
    )
    for name, option, text in _RENAMED:
        parser.add_argument('--' + name, metavar='VALUE', help=f'{text} (now: {option})')
    for name, option, text in _SWITCHES:
        text += f' (now: {option})' if option else ''
        parser.add_argument('--' + name, action='store_true', help=text)
    parser.add_argument('--input_res', metavar='PIXELS', help='sets --input_h and --input_w')
    parser.add_argument(
        '--gpus', metavar='N', help='the GPU, -1 for the CPU; only the first of a list is used'
    )
    parser.add_argument('--exp_id', metavar='NAME', help='ignored: results go to --res_data_save_path')
    argv = list(argv)
    if argv and not argv[0].startswith('-'):
        task = argv.pop(0)
        if task != 'ctdet':
            parser.error(f"task '{task}': only ctdet is supported")
    old, rest = parser.parse_known_args(argv)
    if old.keep_res and old.fix_res:
        parser.error('--keep_res and --fix_res exclude each other')
    words = ['eval-pth']
    if not any(word == '--output' or word.startswith('--output=') for word in rest):
        words += ['--output', OUTPUT]
    if old.input_res is not None:
        words += ['--input-height', old.input_res, '--input-width', old.input_res]
    for name, option, _ in _RENAMED:
        if getattr(old, name) is not None:
            words += [option, getattr(old, name)]
    words += [option for name, option, _ in _SWITCHES if option and getattr(old, name)]
    if old.gpus is not None:
        words += ['--device', _device(old.gpus, parser)]
    return words + rest


def _device(gpus, parser):
    first = gpus.split(',')[0].strip()
    if not first.lstrip('-').isdigit():
        parser.error(f"--gpus: '{gpus}' is not the number of a GPU, or -1 for the CPU")
    return 'cpu' if int(first) < 0 else f'cuda:{first}'


if __name__ == '__main__':
    sys.exit(centernet(translate(sys.argv[1:])))
