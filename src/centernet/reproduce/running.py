"""Every claim put to the test: evaluations by the published protocols, and each export against its
checkpoint."""

import contextlib
import json
import os
import platform
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import onnx
import onnxruntime
import torch

from ..checkpoint import load_model
from ..coco import CocoData
from ..dcn import compiled
from ..detection import InputSpec
from ..device import describe_device
from ..errors import ArchitectureError, CheckpointError, ModelError, OptionError
from ..evaluation import EvalOptions, TorchRunner, evaluate
from ..evaluation.options import check, select
from ..export.exporter import export
from ..export.targets import TARGETS
from ..files import atomic_write, ensure_folder, sha256
from ..models import divisor
from ..provenance import versions
from ..runners.onnx_runner import OnnxRunner
from ..verification import document as verification_document
from ..verification import verify
from ..verification.summary import write_report as write_verification
from . import tolerances
from .claims import PROTOCOLS, Claims, NetworkClaims

HOLDS, FAILS, NOT_COMPARABLE, NO_CLAIM = 'holds', 'fails', 'not comparable', 'no claim'
STATE_NAME = 'state.json'


class Settings(NamedTuple):
    """How it is run.

    ``device``: of torch; ``onnx_device``: the name that onnxruntime gets. ``loading``: maps a device's type
    and an InputSpec to (batch size, workers), which ``batch_size`` and ``workers`` override. ``threads``:
    as of TorchRunner. ``limit``: only the first images. ``targets``: which exports.
    """

    device: torch.device
    loading: Callable[[str, InputSpec], Tuple[int, int]]
    onnx_device: str = 'auto'
    threads: Optional[int] = None
    limit: Optional[int] = None
    targets: Tuple[str, ...] = tuple(TARGETS)
    batch_size: Optional[int] = None
    workers: Optional[int] = None
    progress: bool = True


class Row(NamedTuple):
    """A claim and what was found.

    ``kind``: ``data``, ``weights``, ``AP`` or ``export``. ``expected``: a figure, or a SHA-256; None where
    none is published. ``tolerance``: None where the two have to be equal. ``verdict``: ``holds``, ``fails``,
    ``not comparable`` (AP of fewer images than the claim is about) or ``no claim`` (none is published).
    """

    kind: str
    network: Optional[str]
    claim: str
    expected: Any
    measured: Any
    tolerance: Optional[float]
    verdict: str
    note: str = ''

    @property
    def difference(self) -> Optional[float]:
        """Measured less expected, of figures."""
        return (
            self.measured - self.expected
            if isinstance(self.measured, float) and isinstance(self.expected, float)
            else None
        )


class Reproduction(NamedTuple):
    """All rows; true where none fails. ``images``: how many were evaluated."""

    claims: Claims
    rows: Tuple[Row, ...]
    images: int
    settings: Settings
    environment: Dict[str, Any]
    seconds: Dict[str, float]

    def __bool__(self) -> bool:
        return not self.failing

    @property
    def failing(self) -> List[Row]:
        return [row for row in self.rows if row.verdict == FAILS]

    @property
    def not_comparable(self) -> List[Row]:
        return [row for row in self.rows if row.verdict == NOT_COMPARABLE]


def reproduce(
    claims: Claims,
    data: CocoData,
    weights: Dict[str, str],
    folder: str,
    settings: Settings,
    say: Callable[[str], None] = lambda text: None,
) -> Reproduction:
    """Put claims to the test.

    Args:
        claims: what is claimed.
        data: the data set that it is claimed of.
        weights: architecture -> path of the checkpoint.
        folder: the output folder. An interrupted run that it holds is continued, if it was of the same
            versions, weights, data and device; a finished one is not used again.
        settings: how to run it.
        say: is told what is being done.

    Returns:
        Reproduction.

    Raises:
        OptionError: settings that mean nothing.
        CheckpointError: a checkpoint cannot be read. (One of another network is a claim that fails.)
        DataError, OutputError, ...: images or files cannot be read or written.
        Interrupted: the run was stopped.
    """
    unknown = [name for name in settings.targets if name not in TARGETS]
    if unknown:
        raise OptionError("unknown target '{}'; known: {}".format(unknown[0], ', '.join(TARGETS)))
    options = EvalOptions(
        limit=settings.limit, batch_size=settings.batch_size or 1, workers=settings.workers or 0
    )
    check(options._replace(batch_size=1 if settings.batch_size is None else settings.batch_size))
    images = len(select(data, options))
    folder = ensure_folder(folder)
    annotations = sha256(data.annotations)
    digests = {network.arch: _digest(weights[network.arch]) for network in claims.networks}
    environment = dict(
        versions(),
        onnx=onnx.__version__,
        onnxruntime=onnxruntime.__version__,
        platform=platform.platform(),
        deformable_convolution=compiled.description() or 'plain torch',
        **describe_device(settings.device),
    )
    state = {'environment': environment, 'weights': digests, 'annotations': annotations}
    test = _Test(claims, data, settings, folder, images, _may_continue(folder, state), say)
    if test.resume:
        say(f'going on with the interrupted run in {folder}')
    _write_state(folder, state, finished=False)
    rows = [_same('data', None, 'SHA-256 of the annotations', claims.annotations_sha256, annotations)]
    for network in claims.networks:
        rows += test.network(network, weights[network.arch], digests[network.arch])
    _write_state(folder, state, finished=True)
    return Reproduction(
        claims, tuple(rows), images, settings, dict(environment, weights_sha256=digests), test.seconds
    )


class _Test:
    def __init__(self, claims, data, settings, folder, images, resume, say):
        self.claims, self.data, self.settings, self.folder, self.images = (
            claims,
            data,
            settings,
            folder,
            images,
        )
        self.resume, self.say, self.seconds = resume, say, {}

    def network(self, network: NetworkClaims, path: str, digest: str) -> List[Row]:
        """The rows of one network."""
        rows = [_same('weights', network.arch, f'SHA-256 of {network.weights}', network.sha256, digest)]
        try:
            loaded = load_model(path, network.arch)
            runner = TorchRunner.of_checkpoint(
                loaded,
                self.settings.device,
                path,
                threads=self.settings.threads,
            )
            for name, expected in network.figures:
                with self._step(f'{network.arch}, {name}'):
                    rows.append(self._figure(network, runner, name, expected))
            if self.settings.targets:
                with self._step(f'{network.arch}, export'):
                    files = self._export(network, loaded)
                for target, file in files:
                    with self._step(f'{network.arch}, verify {target}'):
                        rows.append(self._verify(network, runner, target, file))
        except (ArchitectureError, CheckpointError, ModelError, OptionError) as error:
            rows.append(
                Row('weights', network.arch, f'runs as {network.arch}', None, None, None, FAILS, str(error))
            )
        return rows

    @contextlib.contextmanager
    def _step(self, name):
        self.say(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)

    def _figure(self, network, runner, name, expected):
        protocol = PROTOCOLS[name]
        spec = InputSpec(
            network.input_size[0], network.input_size[1], protocol.keep_res, divisor(network.arch) - 1
        )
        found = evaluate(
            runner,
            self.data,
            self._options(runner.device.type, spec)._replace(flip_test=protocol.flip_test),
            self._folder(network, name),
            self.resume,
            self.settings.progress,
        )
        measured = found.metrics.stats['AP']
        row = Row('AP', network.arch, 'AP, ' + name, expected, measured, self.claims.tolerance.limit, FAILS)
        if found.failed:
            return row._replace(
                note='{} image{} could not be read'.format(
                    len(found.failed), '' if len(found.failed) == 1 else 's'
                )
            )
        if expected is None:
            return row._replace(verdict=NO_CLAIM, tolerance=None)
        if self.images != self.claims.images:
            return row._replace(verdict=NOT_COMPARABLE, note=f'{self.images} of {self.claims.images} images')
        return row._replace(verdict=HOLDS if _is_near(row) else FAILS)

    def _export(self, network, loaded):
        """[(target, path)]"""
        names = [name for name in TARGETS if name in self.settings.targets]
        files = export(
            loaded,
            self._folder(network, 'export'),
            os.path.splitext(network.weights)[0],
            names,
            size=tuple(network.input_size),
        )
        return list(zip(names, [path for path in files if path.endswith('.onnx')]))

    def _verify(self, network, runner, target, file):
        row = Row(
            'export',
            network.arch,
            f'AP of the export for {target}',
            None,
            None,
            tolerances.EXPORT.limit,
            FAILS,
        )
        try:
            model = OnnxRunner(file, self.settings.onnx_device, self.settings.threads)
        except ModelError as error:
            return row._replace(note=str(error))
        spec = InputSpec(*network.input_size)
        folder = self._folder(network, 'verify ' + target)
        options = self._options(model.device_type, spec)._replace(batch_size=model.batch_size or 1)
        # The checkpoint's own detections are those of fix_res, which need not be computed again.
        found = verify(
            runner,
            model,
            self.data,
            spec,
            folder,
            options,
            target=target,
            progress=self.settings.progress,
            reference_folder=self._folder(network, 'fix_res'),
            resume=self.resume,
        )
        write_verification(folder, verification_document(found))
        stages = '; '.join(f'{stage.name} {stage.outcome}' for stage in found.stages)
        metrics = found.stage('metrics')
        if metrics.comparison is None:
            return row._replace(note=stages)
        figure = next(figure for figure in metrics.comparison.figures if figure.name == 'AP')
        return row._replace(
            expected=figure.reference,
            measured=figure.model,
            verdict=HOLDS if found else FAILS,
            note='' if found else stages,
        )

    def _options(self, device_type, spec):
        given = self.settings
        batch_size, workers = given.loading(device_type, spec)
        return EvalOptions(
            input=spec,
            limit=given.limit,
            batch_size=batch_size if given.batch_size is None else given.batch_size,
            workers=workers if given.workers is None else given.workers,
        )

    def _folder(self, network, name):
        return os.path.join(self.folder, network.arch, name.replace(', ', '_').replace(' ', '_'))


def _digest(path):
    try:
        return sha256(path)
    except OSError as error:
        raise CheckpointError(f'cannot read the checkpoint {path}: {error.strerror}') from error


def _same(kind, network, claim, expected, measured):
    return Row(kind, network, claim, expected, measured, None, HOLDS if expected == measured else FAILS)


def _is_near(row):
    # the last digit of a decimal number must not decide
    return row.difference is not None and abs(row.difference) <= row.tolerance + 1e-9


def _may_continue(folder, state):
    """Whether the folder holds an interrupted run of the same."""
    try:
        with open(os.path.join(folder, STATE_NAME), encoding='utf-8') as file:
            return json.load(file) == dict(json.loads(json.dumps(state)), finished=False)
    except (OSError, ValueError):
        return False


def _write_state(folder, state, finished):
    with atomic_write(os.path.join(folder, STATE_NAME)) as file:
        json.dump(dict(state, finished=finished), file, indent=2)
        file.write('\n')
