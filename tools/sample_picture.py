"""Draw docs/sample.png, the picture in the README: ``python tools/sample_picture.py``.

Needs an environment in which this checkout is installed.
"""

import os
import tempfile

import cv2
import numpy as np

from centernet.coco import CocoData, read_image
from centernet.detection import InputSpec, decode, merge, postprocess, preprocess
from centernet.drawing import draw_panels, save_picture
from centernet.networks.runtimes import open_network
from centernet.sample import SAMPLE_WEIGHTS, sample_folder

#: the first PICTURES pictures with at least SHAPES shapes, side by side, each WIDTH pixels wide
SHAPES, PICTURES, WIDTH = 4, 3, 420
TARGET = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'docs', 'sample.png')


def main() -> None:
    network = open_network(SAMPLE_WEIGHTS, 'cpu')
    spec = InputSpec(*network.info.stored)
    panels = []
    with tempfile.TemporaryDirectory() as folder:
        data = CocoData.load(sample_folder(folder))
        busy = [image_id for image_id in data.image_ids if len(data.ground_truth(image_id).boxes) >= SHAPES]
        for image_id in busy[:PICTURES]:
            image = read_image(data.file(image_id))
            planes, geometry = preprocess(image, spec)
            detections = merge(postprocess(decode(network(planes[None])), [geometry]))
            panel = draw_panels(image, detections, data.ground_truth(image_id), data.class_names)
            size = WIDTH, panel.shape[0] * WIDTH // panel.shape[1]
            panels.append(cv2.resize(panel, size, interpolation=cv2.INTER_AREA))
    height = max(panel.shape[0] for panel in panels)
    white = {'borderType': cv2.BORDER_CONSTANT, 'value': (255, 255, 255)}
    padded = [cv2.copyMakeBorder(panel, 0, height - panel.shape[0], 0, 0, **white) for panel in panels]
    save_picture(TARGET, np.hstack(padded))
    print(f'{TARGET}, {os.path.getsize(TARGET) // 1024} KiB')


if __name__ == '__main__':
    main()
