"""What a run is: the network, the data and the protocol, and what evaluated its images."""

import os
import platform
import shlex
from typing import Any, Dict, List, Optional, Sequence, Tuple

import attr

from ..coco import CocoData
from ..networks.network import Network, NetworkInfo
from ..networks.runtimes import RUNTIMES
from ..options import fields
from ..options.fields import DIGITS, RUN, nested, option
from ..options.protocol import Protocol
from ..options.selection import Loading, Selection
from ..sample import SAMPLE_WEIGHTS
from ..system.files import sha256
from ..system.precision import FP32
from ..system.versions import versions

Category = Optional[Tuple[int, str]]
#: in place of a runtime, where a device has computed the outputs
OUTPUTS = 'outputs'


@attr.s(frozen=True, auto_attribs=True, kw_only=True)
class Data:
    """What a run is evaluated on.

    ``annotations``: path of the annotations file; None for pictures and videos. ``sha256``: of its content,
    or of the names of the pictures and videos. ``images``: folder of the images. ``channels``: (category id,
    name) by channel of the network, None for a channel without one. ``sample``: whether it is the built-in
    sample. ``categories``: as the user gave them.
    """

    annotations: Optional[str] = option(
        row='annotations', show=lambda data: 'the built-in sample' if data.sample else data.annotations
    )
    sha256: str = option(attr.NOTHING, means=RUN)
    images: Optional[str] = option()
    channels: Tuple[Category, ...] = option(
        attr.NOTHING, means=RUN, load=lambda channels: tuple(item and tuple(item) for item in channels)
    )
    sample: bool = option(False)
    categories: Optional[Tuple[str, ...]] = option()

    @classmethod
    def of(cls, data: CocoData, sample: bool, categories: Optional[Sequence[str]] = None) -> 'Data':
        """Describe a data set."""
        return cls(
            annotations=os.path.abspath(data.annotations),
            sha256=sha256(data.annotations),
            images=os.path.abspath(data.images),
            channels=tuple(data.channels),
            sample=sample,
            categories=None if categories is None else tuple(categories),
        )

    def words(self) -> List[str]:
        """The options that name the data set; none for the built-in sample."""
        words = [] if self.sample else ['--annotations', str(self.annotations), '--images', str(self.images)]
        return words + (['--categories=' + ','.join(self.categories)] if self.categories else [])


@attr.s(frozen=True, auto_attribs=True, kw_only=True)
class Environment:
    """What evaluated images: the device and the versions of everything that decides their digits."""

    device: str = option(attr.NOTHING, row='device', show=lambda here: str(attr.evolve(here, threads=None)))
    device_type: str = option(attr.NOTHING, means=DIGITS)
    device_name: Optional[str] = option()
    provider: Optional[str] = option(means=DIGITS)
    threads: Optional[int] = option(means=DIGITS, row='threads')
    centernet: Optional[str] = option(means=DIGITS, row='this project')
    git: Optional[str] = option(means=DIGITS, row='revision')
    python: Optional[str] = option(row='Python')
    torch: Optional[str] = option(means=DIGITS, row='PyTorch')
    onnxruntime: Optional[str] = option(means=DIGITS, row='ONNX Runtime')
    numpy: Optional[str] = option(means=DIGITS, row='NumPy')
    opencv: Optional[str] = option(means=DIGITS, row='OpenCV')
    pycocotools: Optional[str] = option(row='pycocotools')
    machine: Optional[str] = option()

    @classmethod
    def here(cls, info: NetworkInfo) -> 'Environment':
        """Describe this machine, on which a network runs."""
        names = ('device', 'device_type', 'device_name', 'provider', 'threads')
        same = {name: getattr(info, name) for name in names}
        found: Dict[str, Any] = dict(versions(), onnxruntime=info.versions.get('onnxruntime'))
        return cls(machine=platform.machine(), **same, **found)

    def __str__(self) -> str:
        """The device in words, such as ``cuda:0 (Tesla T4)``."""
        name = f' ({self.device_name})' if self.device_name else ''
        threads = f', {self.threads} thread{"" if self.threads == 1 else "s"}' if self.threads else ''
        return self.device + name + threads


@attr.s(frozen=True, auto_attribs=True, kw_only=True)
class Record:
    """A run. ``selection``, ``loading`` and ``environment`` are those of one session of it: a resumed run has
    several. ``unknown``: what a newer version has written besides."""

    network: NetworkInfo = nested(NetworkInfo)
    data: Data = nested(Data)
    protocol: Protocol = nested(Protocol)
    selection: Selection = nested(Selection)
    loading: Loading = nested(Loading)
    environment: Environment = nested(Environment)
    unknown: Dict[str, Any] = attr.ib(factory=dict, eq=False)

    @classmethod
    def of(
        cls, network: Network, data: Data, protocol: Protocol, selection: Selection, loading: Loading
    ) -> 'Record':
        """Describe a run of a network on this machine."""
        info = network.info
        return cls(
            network=info,
            data=data,
            protocol=protocol,
            selection=selection,
            loading=loading,
            environment=Environment.here(info),
        )

    def differences(self, other: 'Record', *means: str) -> List[fields.Difference]:
        """What differs between two runs, or between two sessions of one.

        Args:
            other: the later one.
            means: :data:`~centernet.options.fields.RUN`, ``IMAGES`` or ``DIGITS``; all by default.
        """
        return [item for item in fields.differences(self, other) if not means or item.means in means]

    def session(self) -> Dict[str, Any]:
        """What may change when the run is resumed, as JSON."""
        return {name: fields.to_json(getattr(self, name)) for name in ('selection', 'loading', 'environment')}

    def with_session(self, document: Dict[str, Any]) -> 'Record':
        """This record with another session, from JSON."""
        return attr.evolve(
            self,
            selection=fields.from_json(Selection, document['selection']),
            loading=fields.from_json(Loading, document['loading']),
            environment=fields.from_json(Environment, document['environment']),
        )

    def words(self, selection: Optional[Selection] = None) -> List[str]:
        """The words of the command that repeats the run.

        Args:
            selection: other images; those of the record by default.
        """
        network, chosen = self.network, selection or self.selection
        if network.runtime == OUTPUTS:  # of a device: the input is what was dumped
            unused = ['keep_res', 'input_height', 'input_width', 'normalization', 'flip_test', 'test_scales']
            words = [word for flag in network.metadata.items() for word in flag]
            words += fields.to_words(self.protocol, unused)
            return ['centernet', 'eval-outputs', str(network.file), *words]
        command = next(entry.command for entry in RUNTIMES if entry.name == network.runtime)
        words = ['centernet', command]
        if command != 'eval-pth':
            words.append(str(network.file))
        elif not self.data.sample or network.sha256 != sha256(SAMPLE_WEIGHTS):
            words += ['--weights', str(network.file), '--arch', network.arch]
            named = network.entry and network.entry != 'state_dict'
            words += ['--weights-key', str(network.entry)] if named else []
        unused = ['nms'] if len(self.protocol.test_scales) > 1 else []
        words += self.data.words() + fields.to_words(chosen) + fields.to_words(self.protocol, unused)
        words += ['--precision', network.precision] if network.precision != FP32 else []
        return words + ['--device', self.environment.device]

    def command(self, selection: Optional[Selection] = None) -> str:
        """:meth:`words` for a shell."""
        return ' '.join(map(shlex.quote, self.words(selection)))

    def rows(self) -> List[Tuple[str, str]]:
        """The settings of the run, for tables: name, value."""
        network = self.network
        name = os.path.basename(network.file or '')
        found = [('network', f'{network.arch} ({name})' if network.arch else name)]
        for record in (network, self.environment, self.loading, self.protocol, self.data):
            found += fields.rows(record)
        return found
