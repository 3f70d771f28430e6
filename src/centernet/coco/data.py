"""A data set in COCO's instances format: its files, categories and ground truth."""

import collections
import copy
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..system.errors import DataError
from .categories import Category, match_classes
from .find_files import find_annotations, find_images
from .format import read_instances


class GroundTruth(NamedTuple):
    """The objects of one image.

    ``boxes``: float32 [g, 4], x1, y1, x2, y2 in image pixels. ``classes``: int64 [g], class indices.
    ``crowd``: bool [g], whether the box marks a group of objects.
    """

    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray


#: the keys of annotations that are kept, and their types
_COLUMNS = {'id': int, 'image_id': int, 'category_id': int, 'bbox': float, 'area': float, 'iscrowd': bool}


class Objects(NamedTuple):
    """Annotated objects, in the order of the annotations file.

    Arrays take a tenth of what Python's objects need: 60 bytes for each object.

    ``ids``: int64 [g], from 1. ``image_ids``: int64 [g]. ``category_ids``: int64 [g]. ``boxes``: float64
    [g, 4], x, y, width, height in image pixels. ``areas``: float64 [g]. ``crowd``: bool [g], whether the box
    marks a group.
    """

    ids: np.ndarray
    image_ids: np.ndarray
    category_ids: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray

    @classmethod
    def of(cls, annotations: Sequence[Dict[str, Any]]) -> 'Objects':
        """Return the objects of annotations in COCO's format."""
        found = cls(
            *(np.array([entry[key] for entry in annotations], kind) for key, kind in _COLUMNS.items())
        )
        return found._replace(boxes=found.boxes.reshape(-1, 4))

    def take(self, chosen: Union[np.ndarray, slice]) -> 'Objects':
        """Return some of the objects, by a mask, their positions or a slice."""
        return Objects(*(column[chosen] for column in self))

    def to_annotations(self) -> List[Dict[str, Any]]:
        """Return them as annotations in COCO's format."""
        columns = [column.tolist() for column in self._replace(crowd=self.crowd.astype(int))]
        return [dict(zip(_COLUMNS, values)) for values in zip(*columns)]


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
        self._by_image = np.argsort(self.objects.image_ids, kind='stable')
        self._category_entries = dataset['categories']
        count = collections.Counter(entry['name'] for entry in self._category_entries)
        self.categories = sorted(  # the id is appended to a name that several categories share
            (entry['id'], entry['name'] + (f' (id {entry["id"]})' if count[entry['name']] > 1 else ''))
            for entry in self._category_entries
        )
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
            need_images: look for the images. Metrics need only the annotations.

        ``iscrowd`` defaults to 0 and ``area`` to the area of the box.

        Raises:
            DataError: a folder or file is missing, the annotations file is not valid JSON or not a COCO
                instances file, or none of its images exists. (Single missing images are reported when they
                are read.)
        """
        if root is not None and not os.path.isdir(root):
            raise DataError(f'no such data folder: {root}')
        if annotations is None:
            annotations = find_annotations(root)
        dataset, notes = read_instances(annotations)
        if not need_images:
            return cls(dataset, annotations, images or os.path.dirname(annotations), notes)
        images, more = find_images(root, annotations, images, dataset['images'])
        return cls(dataset, annotations, images, notes + more)

    def matched(
        self, count: int, names: Optional[Sequence[str]] = None, wanted: Optional[Sequence[str]] = None
    ) -> 'CocoData':
        """Return this data set for a network with ``count`` channels; :func:`.match_classes` finds
        their categories, and explains the arguments and errors."""
        with_objects = set(np.unique(self.objects.category_ids).tolist())
        groups = {entry['id']: str(entry.get('supercategory', '')) for entry in self._category_entries}
        return self.with_channels(*match_classes(self.categories, with_objects, groups, count, names, wanted))

    def with_channels(self, channels: Sequence[Optional[Category]], notes: Sequence[str] = ()) -> 'CocoData':
        """Return this data set for a network whose channels have these categories.

        Only categories with a channel count in the metrics. No channels at all mean that none of the
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
        """Return the path of an image's file."""
        return os.path.join(self.images, self.entries[image_id]['file_name'])

    def channel_of(self) -> Dict[int, int]:
        """Return category id -> channel, for the categories that count."""
        return {category[0]: channel for channel, category in enumerate(self.channels) if category}

    def ground_truth(self, image_id: int) -> GroundTruth:
        """Return the annotated objects of one image, which may be none. Classes are channels; objects of
        categories without one are left out."""
        channel_of = self.channel_of()
        image_ids = self.objects.image_ids
        places = (np.searchsorted(image_ids, image_id, side, self._by_image) for side in ('left', 'right'))
        objects = self.objects.take(self._by_image[slice(*places)])
        classes = np.array([channel_of.get(category, -1) for category in objects.category_ids.tolist()], int)
        boxes = objects.boxes.astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        kept = classes >= 0
        return GroundTruth(boxes[kept], classes[kept], objects.crowd[kept])

    def to_dataset(self) -> Dict[str, Any]:
        """Return the content of the annotations file, as far as it is kept."""
        return {
            'images': list(self.entries.values()),
            'annotations': self.objects.to_annotations(),
            'categories': self._category_entries,
        }
