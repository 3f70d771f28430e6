"""The folder of an evaluation, read back."""

import json
import os
from typing import Any, Dict, List, NamedTuple, Optional

from ..coco import CocoData
from ..errors import DataError
from ..evaluation.run_folders import find_recorded
from ..evaluation.summary import METRICS_NAME, RESULTS_NAME, Evaluation
from ..files import display_path, sha256

_AGAIN = 'evaluate again with this version'


class Run(NamedTuple):
    """A finished evaluation.

    ``folder``: where it is. ``document``: the content of metrics.json. ``results``: all detections in COCO's
    results format. ``data``: the data set, with the run's channels. ``image_ids``: the evaluated images.
    """

    folder: str
    document: Dict[str, Any]
    results: List[Dict[str, Any]]
    data: CocoData
    image_ids: List[int]

    @property
    def name(self) -> str:
        """The folder as it is shown to people."""
        return display_path(self.folder)


def make_run(evaluation: Evaluation, data: CocoData, folder: str) -> Run:
    """Return the run of an evaluation that has just ended."""
    document = evaluation.document
    return Run(folder, document, evaluation.results, data, _image_ids(document, data))


def load_run(
    folder: str, root: Optional[str] = None, annotations: Optional[str] = None, images: Optional[str] = None
) -> Run:
    """Read the results.json and metrics.json of an evaluation, and its data set.

    Args:
        folder: the output folder of eval-pth or eval-onnx.
        root, annotations, images: the data set, if it is no longer where the run found it; as for
            :meth:`CocoData.load <centernet.coco.CocoData.load>`.

    Raises:
        DataError: a file is missing or damaged, or the annotations have changed since.
    """
    if not os.path.isdir(folder):
        raise DataError(f'no such folder: {display_path(folder)}')
    document = _read(folder, METRICS_NAME)
    results = _read(folder, RESULTS_NAME)
    where = display_path(os.path.join(folder, METRICS_NAME))
    try:
        recorded = document['data']
        recorded['image_ids'], document['metrics']['AP'], document['network'], document['protocol']
        expected = recorded['annotations_sha256']
        channels = [item and (item['id'], item['name']) for item in recorded['categories']]
    except (KeyError, TypeError, IndexError):
        raise DataError(f'{where} is of another version or not of an evaluation: {_AGAIN}') from None
    if not isinstance(results, list) or not all(_is_result(item) for item in results):
        raise DataError(f"{display_path(os.path.join(folder, RESULTS_NAME))} is not in COCO's results format")
    if root is None and annotations is None:
        paths = find_recorded(folder, recorded)
        if paths is None:
            raise DataError(
                f'{display_path(folder)} was evaluated on {recorded["annotations"]}, which is missing: name'
                ' the data with --data, or with --annotations and --images'
            )
        annotations, images = paths[0], images or paths[1]
    data = CocoData.load(root, annotations, images)
    if sha256(data.annotations) != expected:
        raise DataError(
            f'{display_path(data.annotations)} is not the file that {display_path(folder)} was evaluated on:'
            ' its content differs'
        )
    known = set(data.categories)
    if not all(category is None or category in known for category in channels):
        raise DataError(
            f'{display_path(folder)} was not measured against the annotations, but against the detections of'
            ' another network; there is no report of that'
        )
    data = data.with_channels(channels)
    return Run(folder, document, results, data, _image_ids(document, data))


def _image_ids(document: Dict[str, Any], data: CocoData) -> List[int]:
    selected = document['data']['image_ids']
    return list(data.image_ids if selected is None else selected)


def _read(folder: str, name: str) -> Any:
    path = os.path.join(folder, name)
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except FileNotFoundError:
        raise DataError(
            f'{display_path(folder)} is not the folder of a finished evaluation: it has no {name}'
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'it is not valid JSON'
        raise DataError(f'cannot read {display_path(path)}: {reason}') from None


def _is_result(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get('image_id'), int)
        and isinstance(item.get('category_id'), int)
        and isinstance(item.get('score'), (int, float))
        and isinstance(item.get('bbox'), list)
        and len(item['bbox']) == 4
        and all(isinstance(value, (int, float)) for value in item['bbox'])
    )
