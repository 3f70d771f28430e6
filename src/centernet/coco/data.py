"""A data set in COCO's instances format: its files, categories and ground truth."""

import collections
import contextlib
import glob
import io
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from pycocotools.coco import COCO

from ..errors import DataError
from .instances import read_instances


class GroundTruth(NamedTuple):
    """The objects of one image.

    ``boxes``: float32 [g, 4], x1, y1, x2, y2 in image pixels. ``classes``: int64 [g], class indices.
    ``crowd``: bool [g], whether the box marks a group of objects.
    """

    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray


class CocoData:
    """A data set in COCO's instances format; see :meth:`load`.

    Attributes:
        image_ids: the ids of the images, in the order of the annotations file.
        categories: list of (category id, name), sorted by id. A network's class index is the position in this
            list: COCO's 80 categories, whose ids go up to 90 with gaps, are the classes 0 to 79.
        annotations: path of the annotations file.
        images: folder of the images.
        coco: pycocotools' COCO object. Segmentations are dropped (box metrics do not need them, and they take
            most of the memory), and annotations are renumbered from 1.
    """

    def __init__(self, dataset: Dict[str, Any], annotations: str, images: str) -> None:
        self.annotations = annotations
        self.images = images
        self.coco = create_index(dataset)
        self.image_ids = [image['id'] for image in dataset['images']]
        self.categories = _named_categories(dataset['categories'])
        self._class_of = {category: i for i, (category, _) in enumerate(self.categories)}

    @classmethod
    def load(
        cls, root: Optional[str] = None, annotations: Optional[str] = None, images: Optional[str] = None
    ) -> 'CocoData':
        """Read a data set.

        Args:
            root: a folder in COCO's layout: ``annotations/instances_val2017.json`` (or a single
                ``annotations/*.json``) with the images in ``val2017/`` (the file's name after
                ``instances_``), ``images/val2017/`` or ``images/``.
            annotations: the annotations file, if it is elsewhere.
            images: the folder of the images, if it is elsewhere.

        ``iscrowd`` defaults to 0 and ``area`` to the area of the box.

        Raises:
            DataError: a folder or file is missing, the annotations file is not valid JSON or not a COCO
                instances file, or none of its images exists. (Single missing images are reported when they
                are read.)
        """
        if root is None and annotations is None:
            raise DataError(
                'no data: specify the folder of a data set in COCO format, or an annotations file'
            )
        if root is not None and not os.path.isdir(root):
            raise DataError(
                'no such data folder: {}{}'.format(root, ' (a file)' if os.path.exists(root) else '')
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
        """The names of the classes, by class index."""
        return [name for _, name in self.categories]

    def file(self, image_id: int) -> str:
        """Return the path of an image's file. Raise DataError for an id that is not in the data set."""
        try:
            return os.path.join(self.images, self.coco.imgs[image_id]['file_name'])
        except KeyError:
            raise DataError(f'{self.annotations} has no image with the id {image_id}') from None

    def ground_truth(self, image_id: int) -> GroundTruth:
        """Return the annotated objects of one image, which may be none."""
        objects = self.coco.imgToAnns.get(image_id, [])
        boxes = np.array([item['bbox'] for item in objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return GroundTruth(
            boxes,
            np.array([self._class_of[item['category_id']] for item in objects], np.int64),
            np.array([item['iscrowd'] for item in objects], bool),
        )


def find_annotations(root: str) -> str:
    """Return the annotations file in a folder of COCO's layout: in ``annotations``, the file
    ``instances_val2017.json`` or the only ``.json`` file.

    Raises:
        DataError: there is no such file, or there are several.
    """
    folder = os.path.join(root, 'annotations')
    standard = os.path.join(folder, 'instances_val2017.json')
    if os.path.isfile(standard):
        return standard
    files = sorted(glob.glob(os.path.join(glob.escape(folder), '*.json')))
    if not files:
        raise DataError(f'no annotations file: looked for {standard} and any other .json file in that folder')
    if len(files) > 1:
        raise DataError(
            '{} contains several annotations files ({}): specify one with --annotations'.format(
                folder, ', '.join(os.path.basename(file) for file in files)
            )
        )
    return files[0]


def create_index(dataset: Dict[str, Any]) -> COCO:
    """Return a pycocotools COCO object for a dict with images, annotations and categories."""
    coco = COCO()
    coco.dataset = dataset
    with silence_stdout():
        coco.createIndex()
    return coco


@contextlib.contextmanager
def silence_stdout() -> Iterator[None]:
    """Discard what pycocotools prints to stdout about its progress."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _find_images(root: Optional[str], annotations: str, images: Optional[str], names: List[str]) -> str:
    """Return the first folder that contains any of the images; usually this looks at a single file."""
    if images is not None:
        if not os.path.isdir(images):
            raise DataError(f'no such images folder: {images}')
        folders = [images]
    else:
        if root is None:
            root = os.path.dirname(os.path.abspath(annotations))
            root = os.path.dirname(root) if os.path.basename(root) == 'annotations' else root
        split = os.path.splitext(os.path.basename(annotations))[0].replace('instances_', '', 1)
        candidates = [os.path.join(root, *parts) for parts in ((split,), ('images', split), ('images',))]
        folders = [folder for folder in candidates if os.path.isdir(folder)]
        if not folders:
            raise DataError(
                'no images folder for {}: looked for {}'.format(annotations, ', '.join(candidates))
            )
    for folder in folders:
        if any(os.path.isfile(os.path.join(folder, name)) for name in names):
            return folder
    raise DataError(
        'none of the {} images of {} was found: looked for {} and the others in {}'.format(
            len(names), annotations, names[0], ', '.join(folders)
        )
    )


def _named_categories(entries: List[Dict[str, Any]]) -> List[Tuple[int, str]]:
    """Return (id, name) sorted by id; the id is appended to a name that several categories share."""
    count = collections.Counter(entry['name'] for entry in entries)
    return sorted(
        (
            entry['id'],
            entry['name'] if count[entry['name']] == 1 else '{} (id {})'.format(entry['name'], entry['id']),
        )
        for entry in entries
    )
