"""Run by both interpreters: print the detections of the built-in sample as JSON, not rounded.

``python detect.py <data folder>`` -> ``{image id: [[x1, y1, x2, y2, score, class index], ...]}``
"""

import json
import sys

import torch

from centernet.checkpoint import load_model
from centernet.coco import CocoData, read_image
from centernet.detection import InputSpec, decode, merge, postprocess, preprocess
from centernet.runners.torch_runner import TorchRunner
from centernet.sample import SAMPLE_WEIGHTS


def main():
    loaded = load_model(SAMPLE_WEIGHTS)
    runner = TorchRunner.of_checkpoint(loaded, torch.device('cpu'), SAMPLE_WEIGHTS)
    data = CocoData.load(sys.argv[1])
    spec = InputSpec(*loaded.checkpoint.meta['input_size'])
    found = {}
    for image_id in data.image_ids:
        planes, geometry = preprocess(read_image(data.file(image_id)), spec)
        found[image_id] = merge(postprocess(decode(runner(planes[None])), [geometry])).tolist()
    json.dump(found, sys.stdout)


if __name__ == '__main__':
    main()
