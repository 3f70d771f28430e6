"""Stage ``metrics``: compare COCO's twelve metrics of the two networks over a data set."""

from typing import Any, Dict, Optional, Sequence

from ..coco import STAT_NAMES, CocoData, CocoMetrics
from . import tolerances
from .stages import Check, Stage, at_most

#: the possible ground truths
ANNOTATIONS = 'annotations'
OWN_DETECTIONS = "the PyTorch model's own detections"


def compare_metrics(
    reference: CocoMetrics,
    model: CocoMetrics,
    images: int,
    ground_truth: str = ANNOTATIONS,
    limit: float = tolerances.FLOAT32.metrics,
) -> Stage:
    """Compare two evaluations of the same images.

    Args:
        reference, model: the metrics of the two networks.
        images: how many were evaluated.
        ground_truth: :data:`ANNOTATIONS`, or :data:`OWN_DETECTIONS` if the data set has other classes than
            the network, or no annotations.
        limit: for each difference.

    Returns:
        A Stage with a check of each of COCO's twelve metrics, and one that there are any. Its facts are
        ``images``, ``ground_truth``, ``figures`` (dicts of name, reference and model, which are None without
        ground truth) and ``limit``.
    """
    pairs = [(name, reference.stats[name], model.stats[name]) for name in STAT_NAMES]
    known = sum(expected is not None for _, expected, _ in pairs)
    checks = [at_most(name, _difference(*values), limit) for name, *values in pairs]
    figures = [dict(zip(('name', 'reference', 'model'), pair)) for pair in pairs]
    facts = {'images': images, 'ground_truth': ground_truth, 'figures': figures, 'limit': limit}
    return Stage('metrics', checks + [Check('metrics with ground truth', known, 1, known >= 1)], facts)


def _difference(expected, measured):
    if expected is None or measured is None:
        return 0.0 if expected is measured else float('inf')
    return abs(expected - measured)


def has_ground_truth(data: CocoData, image_ids: Sequence[int]) -> bool:
    """Return whether there is an object to find in any of the images; crowds are none."""
    return any(not data.ground_truth(image_id).crowd.all() for image_id in image_ids)


def without_annotations(data: CocoData, classes: int) -> CocoData:
    """Return the images of a data set with ``classes`` other categories and no annotations."""
    categories = [{'id': index + 1, 'name': f'class {index}'} for index in range(classes)]
    return _replace(data, list(data.entries.values()), [], categories)


def with_detections(
    data: CocoData, results: Sequence[Dict[str, Any]], image_ids: Sequence[int]
) -> Optional[CocoData]:
    """Return the data set with one network's detections as annotations, to measure another network.

    Used are the detections that have an area and score higher than the hundredth of any image, so that their
    rank does not depend on a tie. If there are none, as with random weights, each image's own hundredth is
    the threshold; other detections with the same score then count as false positives for both networks.

    Args:
        data: from :func:`without_annotations`.
        results: the network's detections in COCO's results format.
        image_ids: the images to keep.

    Returns:
        The data set, or None if no detection qualifies.
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
            'id': number,  # COCOeval takes a match with annotation 0 for no match
            'image_id': result['image_id'],
            'category_id': result['category_id'],
            'bbox': result['bbox'],
            'area': result['bbox'][2] * result['bbox'][3],
            'iscrowd': 0,
        }
        for number, result in enumerate(chosen, start=1)
    ]
    kept, categories = set(image_ids), data.to_dataset()['categories']
    images = [entry for image_id, entry in data.entries.items() if image_id in kept]
    return _replace(data, images, annotations, categories)


def _replace(data, images, annotations, categories):
    """Return a data set with the files of ``data`` and other contents."""
    dataset = {'images': images, 'annotations': annotations, 'categories': categories}
    return CocoData(dataset, data.annotations, data.images)
