"""A data set in COCO's instances format: its files, categories and ground truth."""

import collections
import contextlib
import copy
import io
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from pycocotools.coco import COCO

from ..errors import DataError
from .classes import Category, match_classes
from .find_files import find_annotations, find_images
from .instances import read_instances
from .objects import Objects


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
        entries: image id -> its entry of the annotations file.
        objects: the annotated objects, renumbered from 1. Segmentations are dropped: box metrics do not need
            them.
        categories: list of (category id, name), sorted by id.
        channels: the category of each channel of a network's heat map, None for a channel without one. By
            default they are the categories by id: COCO's 80, whose ids go up to 90 with gaps, are the
            channels 0 to 79.
        notes: a line for each assumption about the data.
        annotations: path of the annotations file.
        images: folder of the images.
    """

    def __init__(
        self, dataset: Dict[str, Any], annotations: str, images: str, notes: Sequence[str] = ()
    ) -> None:
        self.annotations = annotations
        self.images = images
        self.entries: Dict[int, Dict[str, Any]] = {image['id']: image for image in dataset['images']}
        self.image_ids = list(self.entries)
        self.objects = Objects.of(dataset['annotations'])
        self._by_image = _sort_by_image(self.objects)
        self._category_entries = dataset['categories']
        self.categories = _named_categories(dataset['categories'])
        self.channels: Tuple[Optional[Category], ...] = tuple(self.categories)
        self.notes = list(notes)

    @classmethod
    def load(
        cls,
        root: Optional[str] = None,
        annotations: Optional[str] = None,
        images: Optional[str] = None,
        need_images: bool = True,
    ) -> 'CocoData':
        """Read a data set.

        Args:
            root: a folder in COCO's layout: ``annotations/instances_val2017.json`` (or a single
                ``annotations/*.json``) with the images in ``val2017/`` (the file's name after
                ``instances_``), ``images/val2017/`` or ``images/``; or a folder with a single ``*.json`` and
                the images beside it.
            annotations: the annotations file, if it is elsewhere.
            images: the folder of the images, if it is elsewhere.
            need_images: look for the images. Figures need only the annotations.

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
        dataset, notes = read_instances(annotations)
        if not need_images:
            return cls(dataset, annotations, images or os.path.dirname(annotations), notes)
        found = find_images(root, annotations, images, dataset['images'])
        return cls(dataset, annotations, found.folder, notes + found.notes)

    def matched(
        self, count: int, names: Optional[Sequence[str]] = None, wanted: Optional[Sequence[str]] = None
    ) -> 'CocoData':
        """Return this data set for a network with ``count`` channels; :func:`.classes.match_classes` finds
        their categories, and explains the arguments and errors."""
        return self.with_channels(
            *match_classes(
                self.categories,
                set(np.unique(self.objects.category_ids).tolist()),
                {
                    entry['id']: entry['supercategory']
                    for entry in self._category_entries
                    if isinstance(entry.get('supercategory'), str)
                },
                count,
                names,
                wanted,
            )
        )

    def with_channels(self, channels: Sequence[Optional[Category]], notes: Sequence[str] = ()) -> 'CocoData':
        """Return this data set for a network whose channels have these categories.

        Only categories with a channel count in the figures. No channels at all mean that none of the
        network's classes is known.

        Args:
            channels: (category id, name) or None for each channel.
            notes: added to the data set's own.
        """
        data = copy.copy(self)
        data.channels, data.notes = tuple(channels), self.notes + list(notes)
        return data

    @property
    def evaluated(self) -> List[Category]:
        """The categories that count, those with a channel, sorted by id."""
        return sorted(category for category in self.channels if category is not None)

    @property
    def class_names(self) -> List[str]:
        """The names of the classes, by channel; ``-`` for a channel without a category."""
        return ['-' if category is None else category[1] for category in self.channels]

    def file(self, image_id: int) -> str:
        """Return the path of an image's file. Raise DataError for an id that is not in the data set."""
        try:
            return os.path.join(self.images, self.entries[image_id]['file_name'])
        except KeyError:
            raise DataError(f'{self.annotations} has no image with the id {image_id}') from None

    def channel_of(self) -> Dict[int, int]:
        """Return category id -> channel, for the categories that count."""
        return {category[0]: channel for channel, category in enumerate(self.channels) if category}

    def ground_truth(self, image_id: int) -> GroundTruth:
        """Return the annotated objects of one image, which may be none. Classes are channels; objects of
        categories without one are left out."""
        channel_of = self.channel_of()
        order, image_ids = self._by_image
        places = slice(*(np.searchsorted(image_ids, image_id, side) for side in ('left', 'right')))
        objects = self.objects.take(order[places])
        objects = objects.take(
            np.array([category in channel_of for category in objects.category_ids.tolist()], bool)
        )
        boxes = objects.boxes.astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        classes = [channel_of[category] for category in objects.category_ids.tolist()]
        return GroundTruth(boxes, np.array(classes, np.int64), objects.crowd)

    def to_dataset(self) -> Dict[str, Any]:
        """Return the content of the annotations file, as far as it is kept."""
        return {
            'images': list(self.entries.values()),
            'annotations': self.objects.to_annotations(),
            'categories': self._category_entries,
        }


def _sort_by_image(objects: Objects) -> Tuple[np.ndarray, np.ndarray]:
    """Return the positions of objects by image, and their image ids, sorted."""
    order = np.argsort(objects.image_ids, kind='stable')
    return order, objects.image_ids[order]


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
