"""Draws docs/sample.png, the README's picture: ``python tools/sample_picture.py`` in an environment of this
checkout."""

import os
import tempfile

import cv2
import numpy as np
import torch

from centernet.checkpoint import load_model
from centernet.coco import CocoData, read_image
from centernet.detection import InputSpec, decode, merge, postprocess, preprocess
from centernet.evaluation import TorchRunner
from centernet.evaluation.drawing import draw, save_png
from centernet.sample import SAMPLE_WEIGHTS, sample_folder

#: the first pictures with so many shapes, in so many columns, each so wide
SHAPES, PICTURES, COLUMNS, WIDTH = 4, 3, 3, 420
TARGET = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'docs', 'sample.png')


def main():
    loaded = load_model(SAMPLE_WEIGHTS)
    runner = TorchRunner.of_checkpoint(loaded, torch.device('cpu'), SAMPLE_WEIGHTS)
    spec = InputSpec(*loaded.checkpoint.meta['input_size'])
    drawn = []
    with tempfile.TemporaryDirectory() as folder:
        data = CocoData.load(sample_folder(folder))
        busy = [image_id for image_id in data.image_ids if len(data.ground_truth(image_id).boxes) >= SHAPES]
        for image_id in busy[:PICTURES]:
            image = read_image(data.file(image_id))
            tensor, geometry = preprocess(image, spec)
            detections = merge(postprocess(decode(runner(tensor[None])), [geometry]), nms=False)
            panel = draw(image, detections, data.ground_truth(image_id), data.class_names)
            drawn.append(
                cv2.resize(
                    panel, (WIDTH, panel.shape[0] * WIDTH // panel.shape[1]), interpolation=cv2.INTER_AREA
                )
            )
    height = max(panel.shape[0] for panel in drawn)
    cells = [
        cv2.copyMakeBorder(
            panel, 0, height - panel.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255)
        )
        for panel in drawn
    ]
    save_png(TARGET, np.vstack([np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]))
    print(f'{TARGET}, {os.path.getsize(TARGET) // 1024} KiB')


if __name__ == '__main__':
    main()
