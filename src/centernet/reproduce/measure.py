"""Measure every claim: AP by the published protocols, and each export against its checkpoint."""

import contextlib
import json
import os
import platform
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import onnx
import onnxruntime
import torch

from ..checkpoint import load_model
from ..coco import CocoData
from ..dcn import compiled
from ..detection import InputSpec
from ..device import describe_device
from ..errors import ArchitectureError, CheckpointError, Interrupted, ModelError, OptionError
from ..evaluation import EvalOptions, TorchRunner, evaluate
from ..evaluation.eval_options import check, default_loading, select
from ..export.exporter import export
from ..export.targets import TARGETS
from ..files import atomic_write, display_path, ensure_folder, sha256
from ..models import divisor
from ..provenance import versions
from ..runners.onnx_runner import OnnxRunner
from ..verification import document as verification_document
from ..verification import tolerances, verify
from ..verification.summary import write_report as write_verification
from .claims import Claims, Figure, NetworkClaims

HOLDS, FAILS, NOT_COMPARABLE, NO_CLAIM = 'holds', 'fails', 'not comparable', 'no claim'
_STATE_NAME = 'state.json'


class Settings(NamedTuple):
    """How to measure.

    ``device``: of torch; ``onnx_device``: of onnxruntime. ``limit``: only the first images. ``targets``: the
    exports to verify. ``batch_size``, ``workers``: None chooses them for the device and the input size.
    """

    device: torch.device
    onnx_device: str = 'auto'
    threads: Optional[int] = None
    limit: Optional[int] = None
    targets: Tuple[str, ...] = tuple(TARGETS)
    batch_size: Optional[int] = None
    workers: Optional[int] = None
    progress: bool = True


class Row(NamedTuple):
    """A claim and what was measured.

    ``kind``: ``data``, ``weights``, ``AP`` or ``export``. ``expected``: an AP or a SHA-256; None if none is
    published. ``tolerance``: None if the two must be equal. ``verdict``: ``holds``, ``fails``, ``not
    comparable`` (AP of fewer images than the claim is about) or ``no claim`` (none is published).
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
        """Return the measured AP minus the expected one; None for other rows."""
        numbers = isinstance(self.measured, float) and isinstance(self.expected, float)
        return self.measured - self.expected if numbers else None


class Reproduction(NamedTuple):
    """All rows. True if no claim fails. ``images``: how many were evaluated. ``seconds``: by step."""

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
        """Return the rows whose claim fails."""
        return [row for row in self.rows if row.verdict == FAILS]

    @property
    def not_comparable(self) -> List[Row]:
        """Return the rows that could not be compared."""
        return [row for row in self.rows if row.verdict == NOT_COMPARABLE]


def reproduce(
    claims: Claims,
    data: CocoData,
    weights: Dict[str, str],
    folder: str,
    settings: Settings,
    say: Callable[[str], None] = lambda text: None,
) -> Reproduction:
    """Measure claims.

    Args:
        claims: what to measure, and what to expect.
        data: the data set.
        weights: architecture -> path of the checkpoint.
        folder: the output folder. An interrupted run in it is resumed if it had the same versions, weights,
            data and device; a finished run is not used again.
        settings: how to measure.
        say: called with each step's name when it begins.

    Raises:
        OptionError: invalid settings.
        CheckpointError: a checkpoint cannot be read. (One of another network is a claim that fails.)
        DataError, OutputError: images or files cannot be read or written.
        Interrupted: the run was stopped; calling this again resumes it.
    """
    unknown = [name for name in settings.targets if name not in TARGETS]
    if unknown:
        raise OptionError("unknown target '{}'; known: {}".format(unknown[0], ', '.join(TARGETS)))
    options = _options(settings, settings.device.type, InputSpec())
    check(options)
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
    measurement = _Measurement(claims, data, settings, folder, images, _is_resumable(folder, state), say)
    if measurement.resume:
        say(f'resuming the interrupted run in {display_path(folder)}')
    _write_state(folder, state, finished=False)
    rows = [_same('data', None, 'SHA-256 of the annotations', claims.annotations_sha256, annotations)]
    try:
        for network in claims.networks:
            rows += measurement.network(network, weights[network.arch], digests[network.arch])
    except (Interrupted, KeyboardInterrupt, SystemExit) as error:
        cause = error.__cause__ if isinstance(error, Interrupted) else error
        raise Interrupted(
            f'interrupted; results so far are kept in {display_path(folder)}: the same command resumes'
        ) from cause
    _write_state(folder, state, finished=True)
    environment['weights_sha256'] = digests
    return Reproduction(claims, tuple(rows), images, settings, environment, measurement.seconds)


class _Measurement:
    def __init__(
        self,
        claims: Claims,
        data: CocoData,
        settings: Settings,
        folder: str,
        images: int,
        resume: bool,
        say: Callable[[str], None],
    ) -> None:
        self.claims, self.data, self.settings, self.folder = claims, data, settings, folder
        self.images, self.resume, self.say = images, resume, say
        self.seconds: Dict[str, float] = {}

    def network(self, network: NetworkClaims, path: str, digest: str) -> List[Row]:
        """Return the rows of one network."""
        rows = [_same('weights', network.arch, f'SHA-256 of {network.weights}', network.sha256, digest)]
        try:
            loaded = load_model(path, network.arch)
            runner = TorchRunner.of_checkpoint(
                loaded, self.settings.device, path, threads=self.settings.threads
            )
            for figure in network.figures:
                with self._step(f'{network.arch}, {figure.protocol.name}'):
                    rows.append(self._figure(network, runner, figure))
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
    def _step(self, name: str) -> Iterator[None]:
        self.say(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)

    def _figure(self, network: NetworkClaims, runner: TorchRunner, figure: Figure) -> Row:
        protocol = figure.protocol
        spec = InputSpec(*network.input_size, keep_res=protocol.keep_res, pad=divisor(network.arch) - 1)
        found = evaluate(
            runner,
            self.data,
            _options(self.settings, runner.device.type, spec)._replace(flip_test=protocol.flip_test),
            self._folder(network, protocol.name),
            self.resume,
            self.settings.progress,
        )
        measured, limit = found.metrics.stats['AP'], self.claims.tolerance.limit
        row = Row('AP', network.arch, f'AP, {protocol.name}', figure.ap, measured, limit, FAILS)
        if found.failed:
            count = len(found.failed)
            return row._replace(note=f'{count} image{"" if count == 1 else "s"} could not be read')
        if figure.ap is None:
            return row._replace(verdict=NO_CLAIM, tolerance=None)
        if self.images != self.claims.images:
            return row._replace(verdict=NOT_COMPARABLE, note=f'{self.images} of {self.claims.images} images')
        # the last binary digit of a decimal number must not decide
        return row._replace(verdict=HOLDS if abs(row.difference) <= limit + 1e-9 else FAILS)

    def _export(self, network: NetworkClaims, loaded: Any) -> List[Tuple[str, str]]:
        """Return the target and the path of each ONNX file."""
        names = [name for name in TARGETS if name in self.settings.targets]
        files = export(
            loaded,
            self._folder(network, 'export'),
            os.path.splitext(network.weights)[0],
            names,
            size=tuple(network.input_size),
        )
        return list(zip(names, [path for path in files if path.endswith('.onnx')]))

    def _verify(self, network: NetworkClaims, runner: TorchRunner, target: str, file: str) -> Row:
        claim = f'AP of the export for {target}'
        row = Row('export', network.arch, claim, None, None, tolerances.METRICS.limit, FAILS)
        try:
            model = OnnxRunner(file, self.settings.onnx_device, self.settings.threads)
        except ModelError as error:
            return row._replace(note=str(error))
        spec = InputSpec(*network.input_size)
        folder = self._folder(network, 'verify ' + target)
        options = _options(self.settings, model.device_type, spec)
        found = verify(
            runner,
            model,
            self.data,
            folder,
            options=options._replace(batch_size=model.batch_size or 1),
            target=target,
            progress=self.settings.progress,
            reference_folder=self._folder(network, 'fix_res'),  # the checkpoint's detections
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

    def _folder(self, network: NetworkClaims, name: str) -> str:
        return os.path.join(self.folder, network.arch, name.replace(', ', '_').replace(' ', '_'))


def _options(settings, device_type, spec):
    batch_size, workers = default_loading(device_type, spec)
    return EvalOptions(
        input=spec,
        limit=settings.limit,
        batch_size=batch_size if settings.batch_size is None else settings.batch_size,
        workers=workers if settings.workers is None else settings.workers,
    )


def _digest(path):
    try:
        return sha256(path)
    except OSError as error:
        raise CheckpointError(f'cannot read the checkpoint {path}: {error.strerror}') from error


def _same(kind, network, claim, expected, measured):
    return Row(kind, network, claim, expected, measured, None, HOLDS if expected == measured else FAILS)


def _is_resumable(folder, state):
    """Return whether the folder holds an interrupted run with the same state."""
    try:
        with open(os.path.join(folder, _STATE_NAME), encoding='utf-8') as file:
            return json.load(file) == dict(json.loads(json.dumps(state)), finished=False)
    except (OSError, ValueError):
        return False


def _write_state(folder, state, finished):
    with atomic_write(os.path.join(folder, _STATE_NAME)) as file:
        json.dump(dict(state, finished=finished), file, indent=2)
        file.write('\n')
