"""detections.json and detections.csv."""

import csv
import json
from typing import Any, Dict, List, Sequence

from ..runs.run import Run
from ..system.files import atomic_write

JSON_NAME, CSV_NAME = 'detections.json', 'detections.csv'


class Document:
    """The content of detections.json: a data set in COCO's format, whose annotations are the detections.

    A frame of a video is an image with the video's name, ``video_id``, ``frame_id`` (from 0) and ``seconds``;
    ``videos`` lists them.
    """

    def __init__(self, class_names: Sequence[str], about: Dict[str, Any]) -> None:
        self.info = about
        self.categories = [{'id': number, 'name': name} for number, name in enumerate(class_names, start=1)]
        self.images: List[Dict[str, Any]] = []
        self.videos: List[Dict[str, Any]] = []
        self.annotations: List[Dict[str, Any]] = []

    def add(self, name: str, size: Sequence[int], results: List[Dict[str, Any]], **more: Any) -> None:
        """Add an image.

        Args:
            name: its file_name.
            size: (height, width).
            results: its detections, in COCO's results format.
            more: further entries of the image.
        """
        number = len(self.images) + 1
        self.images.append(dict(id=number, file_name=name, width=size[1], height=size[0], **more))
        for result in results:
            box = result['bbox']
            self.annotations.append(
                {
                    'id': len(self.annotations) + 1,
                    'image_id': number,
                    'category_id': result['category_id'],
                    'bbox': box,
                    'area': round(box[2] * box[3], 2),
                    'iscrowd': 0,
                    'score': result['score'],
                }
            )

    def write(self, run: Run) -> List[str]:
        """Write both files into the folder of a run; return their paths."""
        paths = [run.target(name) for name in (JSON_NAME, CSV_NAME)]
        names = ['info', 'images', 'categories', 'annotations'] + ['videos'] * bool(self.videos)
        content = {name: getattr(self, name) for name in names}
        with atomic_write(paths[0]) as file:
            json.dump(content, file, allow_nan=False, separators=(',', ':'), ensure_ascii=False)
            file.write('\n')
        names = {entry['id']: entry['name'] for entry in self.categories}
        with atomic_write(paths[1]) as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(('file_name', 'frame', 'class', 'score', 'x', 'y', 'width', 'height'))
            for entry in self.annotations:
                image = self.images[entry['image_id'] - 1]
                where = image['file_name'], image.get('frame_id', '')
                writer.writerow((*where, names[entry['category_id']], entry['score'], *entry['bbox']))
        return paths
