"""--dask: an evaluation on a cluster."""

import argparse
import os
import uuid
from typing import Any, Tuple

from ..errors import OptionError
from ..files import display_path
from ..sample import SAMPLE_WEIGHTS, sample_folder
from . import eval_shared, setup


def evaluate(arguments: Any, path: str, is_onnx: bool) -> Tuple[Any, Any]:
    """Evaluate a file on a cluster; returns the Evaluation and the data set.

    Args:
        arguments: parsed options.
        path: a checkpoint or an ONNX file.
        is_onnx: whether it is an ONNX file.
    """
    if arguments.shard:
        raise OptionError('--dask divides the run by itself: omit --shard')
    if arguments.save_images:
        raise OptionError('--save-images is not available with --dask; --report shows pictures')
    from ..cluster.client import SHARDS_NAME, Cluster, evaluate_on
    from ..cluster.worker import Job
    from ..coco import CocoData
    from ..provenance import versions
    from ..report import remove_report

    given = arguments.data or arguments.annotations
    root = arguments.data if given else sample_folder(arguments.output)
    data = CocoData.load(root, arguments.annotations, arguments.images, need_images=False)
    plain = {name: value for name, value in vars(arguments).items() if name != 'run'}
    paths = []
    for name, value in (
        ('data', arguments.data),
        ('annotations', arguments.annotations),
        ('images', arguments.images),
    ):
        if value:
            plain[name] = os.path.abspath(value)
            paths.append(plain[name])
    plain['path'] = None if path == SAMPLE_WEIGHTS else os.path.abspath(path)
    if plain['path']:  # the sample is in the package, wherever that is on a worker
        paths.append(plain['path'])
    name = f'centernet-{uuid.uuid4().hex}'
    folder = os.path.join(os.path.abspath(arguments.output), SHARDS_NAME)
    job = Job(
        name,
        prepare,
        dict(plain, is_onnx=is_onnx, dask=None, shown_data=display_path(data.annotations)),
        tuple(paths),
        folder,
        os.path.join(folder, f'.{name}'),
        versions(),
    )
    stream = setup.text_stream(arguments)

    def announce(lines: Any, shards: int, workers: int) -> None:
        count = '1 worker' if workers == 1 else f'{workers} workers'
        print(
            '\n'.join([*lines[:-1], f'cluster: {arguments.dask}, {count}, {shards} shards', '']), file=stream
        )

    remove_report(arguments.output)
    found = evaluate_on(
        Cluster(arguments.dask, arguments.certificates, arguments.shards),
        job,
        data,
        arguments.ids,
        arguments.limit,
        arguments.output,
        announce,
        not arguments.no_progress,
    )
    return found, data


def prepare(arguments: argparse.Namespace) -> Any:
    """Open the network and the data on a worker; ``output`` is a folder of the worker's own."""
    from ..cluster.worker import Prepared

    threads = setup.start(arguments)
    path = arguments.path or SAMPLE_WEIGHTS
    runner, data, chosen = eval_shared.prepare(arguments, path, threads, arguments.is_onnx)
    return Prepared(
        runner,
        data,
        chosen,
        eval_shared.headline(arguments, runner, arguments.shown_data, data.notes, chosen),
    )
