"""The third stage: COCO's twelve figures of the two networks over a data set."""

import json
import os
from typing import Any, Dict, List, NamedTuple, Optional

from ..coco import STAT_NAMES, CocoData, CocoMetrics
from ..files import atomic_write, ensure_folder
from . import tolerances

#: what the figures are measured against
ANNOTATIONS = 'annotations'
OWN_DETECTIONS = "the PyTorch model's own detections"


class Figure(NamedTuple):
    """One of the twelve; None where there is no ground truth for it."""

    name: str
    reference: Optional[float]
    model: Optional[float]

    @property
    def difference(self) -> float:
        """In absolute terms; infinite where only one side has a figure."""
        if self.reference is None or self.model is None:
            return 0.0 if self.reference is self.model else float('inf')
        return abs(self.reference - self.model)


class MetricsComparison(NamedTuple):
    """The figures over some images; true where none differs by more than the tolerance.

    ``ground_truth``: :data:`ANNOTATIONS`, or :data:`OWN_DETECTIONS` where the images have none for this
    network's classes.
    """

    images: int
    ground_truth: str
    figures: List[Figure]

    def __bool__(self) -> bool:
        return all(figure.difference <= tolerances.METRICS.limit for figure in self.figures)


def compare_metrics(
    reference: CocoMetrics, model: CocoMetrics, images: int, ground_truth: str = ANNOTATIONS
) -> MetricsComparison:
    """Put two evaluations of the same images side by side."""
    return MetricsComparison(
        images, ground_truth, [Figure(name, reference.stats[name], model.stats[name]) for name in STAT_NAMES]
    )


def without_annotations(data: CocoData, classes: int, folder: str) -> CocoData:
    """The images of a data set as a data set of another number of classes, without any annotation, written to
    ``folder``."""
    categories = [{'id': index + 1, 'name': f'class {index}'} for index in range(classes)]
    return _write(
        data, folder, {'images': data.coco.dataset['images'], 'annotations': [], 'categories': categories}
    )


def with_detections(
    data: CocoData, results: List[Dict[str, Any]], image_ids: List[int], folder: str
) -> Optional[CocoData]:
    """The data set with one network's detections as its annotations, so that another's figures say how far it
    finds the same.

    Taken are the detections that have an area and score more than the last of the best hundred does in any
    image, so that being among them does not hang on a tie. Where there are none, as with random weights, each
    image's own last of the hundred decides; others that score as much then count as false, for either network
    alike.

    Args:
        data: as :func:`without_annotations` made it.
        results: the network's detections in COCO's results format.
        image_ids: the images that count.
        folder: where the annotations file goes.

    Returns:
        The data set; None where there are no such detections.
    """
    by_image = {}
    for result in results:
        by_image.setdefault(result['image_id'], []).append(result['score'])
    least = {image_id: min(scores) if len(scores) >= 100 else -1.0 for image_id, scores in by_image.items()}
    with_area = [result for result in results if min(result['bbox'][2:]) > 0]
    chosen = [result for result in with_area if result['score'] > max(least.values())] or [
        result for result in with_area if result['score'] > least[result['image_id']]
    ]
    if not chosen:
        return None
    annotations = [
        {
            'id': number,
            'image_id': result['image_id'],
            'category_id': result['category_id'],
            'bbox': result['bbox'],
            'area': result['bbox'][2] * result['bbox'][3],
            'iscrowd': 0,
        }
        for number, result in enumerate(chosen, start=1)
    ]
    dataset = data.coco.dataset
    images = [image for image in dataset['images'] if image['id'] in set(image_ids)]
    return _write(
        data, folder, {'images': images, 'annotations': annotations, 'categories': dataset['categories']}
    )


def _write(data, folder, document):
    path = os.path.join(ensure_folder(folder), 'annotations.json')
    with atomic_write(path) as file:
        json.dump(document, file)
    return CocoData.load(annotations=path, images=data.images)
