"""A data set in COCO's instances format: where its files are, what they say."""

import collections
import glob
import os
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from ..errors import DataError
from .instances import read_instances
from .quiet import index


class GroundTruth(NamedTuple):
    """The objects of one image.

    boxes: float32 [g, 4], x1, y1, x2, y2 in image pixels. classes: int64 [g], class indices. crowd: bool [g].
    """

    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray


class CocoData:
    """A data set in COCO's instances format; see :meth:`load`.

    Attributes:
        image_ids: ids of the images, in the order of the annotations file.
        categories: list of (category id, name), sorted by id. A network's class index is the position in this
            list, so COCO's 80 categories, whose ids have gaps up to 90, are the classes 0 to 79.
        annotations: path of the annotations file.
        images: folder of the images.
        coco: pycocotools' COCO object. Segmentations are not kept (boxes need none, and they are most of the
            memory), and annotations are numbered afresh from 1.
    """

    def __init__(self, dataset: Dict[str, Any], annotations: str, images: str) -> None:
        self.annotations = annotations
        self.images = images
        self.coco = index(dataset)
        self.image_ids = [image['id'] for image in dataset['images']]
        self.categories = _named_categories(dataset['categories'])
        self._class_of = {category: i for i, (category, _) in enumerate(self.categories)}

    @classmethod
    def load(
        cls, root: Optional[str] = None, annotations: Optional[str] = None, images: Optional[str] = None
    ) -> 'CocoData':
        """Read a data set.

        Args:
            root: a folder in COCO's layout: ``annotations/instances_val2017.json`` (or one single
                ``annotations/*.json``) with the images under ``val2017/`` (the file's name after
                ``instances_``), ``images/val2017/`` or ``images/``.
            annotations: the annotations file, where it is not found by ``root`` alone.
            images: the folder of the images, likewise.

        An annotation without ``iscrowd`` is no crowd; one without ``area`` has its box's.

        Raises:
            DataError: a folder or file is missing, the file is no JSON or no COCO instances file, ids are
                used twice, or not one of its images is there. (Single missing images are found when they are
                read.)
        """
        if root is None and annotations is None:
            raise DataError('no data: give the folder of a data set in COCO format, or an annotations file')
        if root is not None and not os.path.isdir(root):
            raise DataError(
                'no such data folder: {}{}'.format(root, ' (it is a file)' if os.path.exists(root) else '')
            )
        if annotations is None:
            annotations = find_annotations(root)
        elif not os.path.isfile(annotations):
            raise DataError(f'no such annotations file: {annotations}')
        dataset = read_instances(annotations)
        images = _find_images(root, annotations, images, [image['file_name'] for image in dataset['images']])
        return cls(dataset, annotations, images)

    @property
    def class_names(self) -> List[str]:
        """Names by class index."""
        return [name for _, name in self.categories]

    def file(self, image_id: int) -> str:
        """Path of an image's file. Raises DataError for an id that the annotations file does not have."""
        try:
            return os.path.join(self.images, self.coco.imgs[image_id]['file_name'])
        except KeyError:
            raise DataError(f'{self.annotations} has no image with the id {image_id}') from None

    def ground_truth(self, image_id: int) -> GroundTruth:
        """The annotated objects of one image (none, for an image without annotations)."""
        objects = self.coco.imgToAnns.get(image_id, [])
        boxes = np.array([item['bbox'] for item in objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return GroundTruth(
            boxes,
            np.array([self._class_of[item['category_id']] for item in objects], np.int64),
            np.array([item['iscrowd'] for item in objects], bool),
        )


def find_annotations(root: str) -> str:
    """The annotations file in a folder of COCO's layout: ``annotations/instances_val2017.json``, or the only
    ``.json`` file there.

    Raises:
        DataError: there is none, or several.
    """
    folder = os.path.join(root, 'annotations')
    standard = os.path.join(folder, 'instances_val2017.json')
    if os.path.isfile(standard):
        return standard
    files = sorted(glob.glob(os.path.join(glob.escape(folder), '*.json')))
    if not files:
        raise DataError(f'no annotations file: looked for {standard} and for any other .json file there')
    if len(files) > 1:
        raise DataError(
            '{} holds several annotations files ({}): name the one to use'.format(
                folder, ', '.join(os.path.basename(file) for file in files)
            )
        )
    return files[0]


def _find_images(root, annotations, images, names):
    """The first folder that has any of the images. Looks at one file where all is well, at every name where
    none is there."""
    if images is not None:
        if not os.path.isdir(images):
            raise DataError(f'no such images folder: {images}')
        folders = [images]
    else:
        if root is None:
            root = os.path.dirname(os.path.abspath(annotations))
            root = os.path.dirname(root) if os.path.basename(root) == 'annotations' else root
        split = os.path.splitext(os.path.basename(annotations))[0].replace('instances_', '', 1)
        places = [
            os.path.join(root, split),
            os.path.join(root, 'images', split),
            os.path.join(root, 'images'),
        ]
        folders = [folder for folder in places if os.path.isdir(folder)]
        if not folders:
            raise DataError('no images folder for {}: looked for {}'.format(annotations, ', '.join(places)))
    for folder in folders:
        if any(os.path.isfile(os.path.join(folder, name)) for name in names):
            return folder
    raise DataError(
        'none of the {} images of {} is there: looked for {} and the others in {}'.format(
            len(names), annotations, names[0], ', '.join(folders)
        )
    )


def _named_categories(entries):
    """(id, name) sorted by id; a name that several categories share is told apart by the id."""
    count = collections.Counter(entry['name'] for entry in entries)
    return sorted(
        (
            entry['id'],
            entry['name'] if count[entry['name']] == 1 else '{} (id {})'.format(entry['name'], entry['id']),
        )
        for entry in entries
    )
