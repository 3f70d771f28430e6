"""Pictures of painted boxes, and a network that detects them."""

import json
import time
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
import torch

from centernet.detection import COCO, Heads
from centernet.networks.network import Network, NetworkInfo

# A picture shows a box of one of two colours (BGR) on black. The class is the colour.
COLOURS = ((0, 0, 255), (0, 255, 0))
SIZES = ((64, 48), (48, 64), (80, 64), (64, 48), (64, 48))
MEAN, STD = (np.array(part, np.float32) for part in COCO)


class PaintNetwork(Network):
    """A network that detects painted boxes exactly, independently of the batch. ``info``: changed facts about
    it."""

    def __init__(self, seconds_per_batch: float = 0.0, **info: Any) -> None:
        self.info = NetworkInfo(
            **dict(
                {
                    'file': 'paint.pth',
                    'sha256': 'none',
                    'arch': 'paint',
                    'heads': {'hm': 2, 'wh': 2, 'reg': 2},
                    'runtime': 'torch',
                    'device': 'cpu',
                },
                **info,
            )
        )
        self.batches = []
        self.seconds_per_batch = seconds_per_batch

    def __call__(self, images: np.ndarray) -> Heads:
        real = images.any(axis=(1, 2, 3))  # others fill the batch
        self.batches.append(int(real.sum()))
        time.sleep(self.seconds_per_batch)
        pixels = images.transpose(0, 2, 3, 1) * STD + MEAN
        count, height, width = pixels.shape[:3]
        hm = np.full((count, 2, height // 4, width // 4), -4, np.float32)
        wh = np.zeros_like(hm)
        reg = np.zeros_like(hm)
        for index, image in enumerate(pixels):
            if not real[index]:
                continue
            rows, columns = np.nonzero(image.max(axis=2) > 0.5)
            left, right, top, bottom = (
                columns.min() / 4,
                (columns.max() + 1) / 4,
                rows.min() / 4,
                (rows.max() + 1) / 4,
            )
            x, y = (left + right) / 2, (top + bottom) / 2
            colour = int(image[rows, columns, 1].mean() > 0.5)
            hm[index, colour, int(y), int(x)] = 3
            # The neighbouring cells contain the box, too: a mirrored image's peak may fall into one of them.
            for row in range(max(0, int(y) - 1), int(y) + 2):
                for column in range(max(0, int(x) - 1), int(x) + 2):
                    wh[index, :, row, column] = right - left, bottom - top
                    reg[index, :, row, column] = x - column, y - row
        return Heads(*(torch.from_numpy(part) for part in (hm, wh, reg)))


def write_data(root: Path, count: int = 12, files: Optional[int] = None) -> Path:
    """Write a data set of ``count`` painted pictures into ``root`` and return it.

    ``files``: the number of different pictures, which are repeated; None: all differ.
    """
    (root / 'annotations').mkdir(parents=True)
    (root / 'val2017').mkdir()
    random = np.random.RandomState(7)
    images, annotations = [], []
    for index in range(count):
        number = index % (files or count)
        width, height = SIZES[number % len(SIZES)]
        if number == index:
            picture = np.zeros((height, width, 3), np.uint8)
            x, y = random.randint(2, 12, 2).tolist()
            w, h = random.randint(18, 30, 2).tolist()
            picture[y : y + h, x : x + w] = COLOURS[number % 2]
            assert cv2.imwrite(str(root / 'val2017' / f'{number:03d}.png'), picture)
            images.append((width, height, [x, y, w, h]))
        box = images[number][2]
        annotations.append(
            {
                'id': index + 1,
                'image_id': 100 + 3 * index,
                'category_id': (5, 9)[number % 2],
                'bbox': box,
                'area': box[2] * box[3],
                'iscrowd': 0,
            }
        )
    document = {
        'images': [
            {
                'id': 100 + 3 * index,
                'file_name': f'{index % len(images):03d}.png',
                'width': images[index % len(images)][0],
                'height': images[index % len(images)][1],
            }
            for index in range(count)
        ],
        'annotations': annotations,
        'categories': [{'id': 5, 'name': 'red'}, {'id': 9, 'name': 'green'}],
    }
    (root / 'annotations' / 'instances_val2017.json').write_text(json.dumps(document))
    return root
