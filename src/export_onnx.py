"""The original sample's command for exporting a checkpoint; the work is done by ``centernet export``.

    python src/export_onnx.py

Reads models/ctdet_coco_dla_2x.pth (dla_34) and writes models/ctdet_coco_dla_2x.onnx for ATC, with an input
``image`` of 1 x 3 x 512 x 512. Takes every option of ``centernet export``; ``--raw`` writes the file as the
sample did, for modify_onnx.py to repair.
"""

import sys
from typing import List, Sequence

from centernet.cli import main as centernet

#: the sample's checkpoint, target and folder
DEFAULTS = ('--weights', 'models/ctdet_coco_dla_2x.pth'), ('--target', 'ascend'), ('--output', 'models')


def translate(argv: Sequence[str]) -> List[str]:
    """The words after ``export_onnx.py`` -> the words after ``centernet``."""
    words = ['export']
    for option, value in DEFAULTS:
        if not any(word == option or word.startswith(option + '=') for word in argv):
            words += [option, value]
    return words + list(argv)


if __name__ == '__main__':
    sys.exit(centernet(translate(sys.argv[1:])))
