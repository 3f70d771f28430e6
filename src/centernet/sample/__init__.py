"""The built-in sample: a small data set in COCO's format, drawn on demand, and a checkpoint for it."""

import os

from .dataset import IMAGES, sample_folder, write_sample

#: the sample's checkpoint: ``dla_tiny``, fp16, trained with tools/train_sample.py
SAMPLE_WEIGHTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'dla_tiny.pth')

__all__ = ['IMAGES', 'SAMPLE_WEIGHTS', 'sample_folder', 'write_sample']
