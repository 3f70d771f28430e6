"""The original sample's command for repairing the exported file; the work is done by ``centernet modify``.

    python src/modify_onnx.py

Reads models/ctdet_coco_dla_2x.onnx and writes models/ctdet_coco_dla_2x_modify.onnx and, beside it, ATC's
command line as a script. Takes another file, and every option of ``centernet modify``.
"""

import sys
from typing import List, Sequence

from centernet.cli import main as centernet

#: the sample's file
MODEL = 'models/ctdet_coco_dla_2x.onnx'


def translate(argv: Sequence[str]) -> List[str]:
    """The words after ``modify_onnx.py`` -> the words after ``centernet``."""
    has_model = bool(argv) and not argv[0].startswith('-')
    return ['modify'] + ([] if has_model else [MODEL]) + list(argv)


if __name__ == '__main__':
    sys.exit(centernet(translate(sys.argv[1:])))
