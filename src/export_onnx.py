"""The original sample's command for exporting a checkpoint; the work is done by ``centernet export``.

    python src/export_onnx.py

Reads models/ctdet_coco_dla_2x.pth (dla_34) and writes models/ctdet_coco_dla_2x.onnx for an input ``image`` of
1 x 3 x 512 x 512. Takes every flag of ``centernet export``; ``--raw`` writes the file as the sample did, for
modify_onnx.py to set right.
"""

import sys

from centernet.cli import main as centernet

#: the sample's checkpoint
WEIGHTS = 'models/ctdet_coco_dla_2x.pth'


def translate(argv):
    """The words after ``export_onnx.py`` -> the words after ``centernet``."""
    given = any(word == '--weights' or word.startswith('--weights=') for word in argv)
    return ['export'] + ([] if given else ['--weights', WEIGHTS]) + list(argv)


if __name__ == '__main__':
    sys.exit(centernet(translate(sys.argv[1:])))
