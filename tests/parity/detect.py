"""Run by both interpreters: print the detections of the built-in sample as JSON, not rounded.

``python detect.py <data folder>`` -> ``{image id: [[x1, y1, x2, y2, score, class index], ...]}``
"""

import json
import sys

from centernet.coco import CocoData, read_image
from centernet.detection import InputSpec, decode, merge, postprocess, preprocess
from centernet.networks.runtimes import open_network
from centernet.sample import SAMPLE_WEIGHTS


def main():
    network = open_network(SAMPLE_WEIGHTS, 'cpu')
    data = CocoData.load(sys.argv[1])
    spec = InputSpec(*network.info.stored)
    found = {}
    for image_id in data.image_ids:
        planes, geometry = preprocess(read_image(data.file(image_id)), spec)
        found[image_id] = merge(postprocess(decode(network(planes[None])), [geometry])).tolist()
    json.dump(found, sys.stdout)


if __name__ == '__main__':
    main()
