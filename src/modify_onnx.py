"""The original sample's command for setting the exported file right; the work is done by ``centernet
modify``.

    python src/modify_onnx.py

Reads models/ctdet_coco_dla_2x.onnx and writes models/ctdet_coco_dla_2x_modify.onnx, and beside it the command
line of ATC as a script. Takes another file, and every flag of ``centernet modify``.
"""

import sys

from centernet.cli import main as centernet

#: the sample's file
MODEL = 'models/ctdet_coco_dla_2x.onnx'


def translate(argv):
    """The words after ``modify_onnx.py`` -> the words after ``centernet``."""
    given = bool(argv) and not argv[0].startswith('-')
    return ['modify'] + ([] if given else [MODEL]) + list(argv)


if __name__ == '__main__':
    sys.exit(centernet(translate(sys.argv[1:])))
