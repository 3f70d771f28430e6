"""Write a made-up evaluation with COCO's classes and sizes of pictures: ``python coco_sized.py FOLDER``."""

import os
import pathlib
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
from support.made_up import write_run

from centernet.coco import COCO_CLASSES

if __name__ == '__main__':
    write_run(pathlib.Path(sys.argv[1]), pictures=120, names=COCO_CLASSES, images=120, classes=80, seed=7)
