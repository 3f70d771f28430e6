"""A device's outputs in place of a network: a runner and a loader for the loop of the evaluation."""

import contextlib
import hashlib
import os
import time
from collections import OrderedDict
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np
import torch

from ..detection import Heads
from ..detection.heads import of_outputs
from ..errors import DataError
from ..evaluation.loader import Batch, Group, LoadTimes
from .finding import find_outputs
from .manifest import Manifest
from .parts import Found
from .reading import BadOutput, fits, read_cells, read_heads
from .reference import References
from .roles import Roles, decide, reference_positions

#: seconds between two looks at the folder
_POLL = 0.5
#: seconds without a change after which a file counts as written: half of a float32 output looks like float16
_QUIET = 2.0


class OutputsRunner:
    """A runner (see :mod:`centernet.runners`) whose "images" are the heads that a device gave.

    Args:
        manifest: of the inputs.
        folder: of the outputs.
        order: heads in the order of the outputs, as the user gives it, or None.
    """

    decodes = False

    def __init__(self, manifest: Manifest, folder: str, order: Optional[Sequence[str]] = None) -> None:
        self.manifest = manifest
        self.order = order
        self.classes = manifest.heads.get('hm', 0)
        self.class_names: Optional[List[str]] = None
        self.roles: Optional[Roles] = None
        self._about = {'folder': os.path.abspath(folder)}

    def __call__(self, outputs: Mapping[str, np.ndarray]) -> Heads:
        """Heads of a batch of outputs, name -> float32 [N, channels, h, w]."""
        tensors = OrderedDict((name, torch.from_numpy(array)) for name, array in outputs.items())
        return of_outputs(tensors, self.roles.is_probability)

    def identity(self) -> Dict[str, Any]:
        """What decides the output: the inputs, the folder of the outputs, and their order where it is
        given."""
        return {
            'runner': 'outputs',
            'manifest_sha256': self.manifest.sha256,
            'folder': self._about['folder'],
            'given_order': None if self.order is None else list(self.order),
        }

    def describe(self) -> Dict[str, Any]:
        """The identity, and more for people."""
        network = dict(self.manifest.document['network'])
        about = dict(self._about, **self.identity())
        if self.roles is not None:
            about['order'] = {str(key): head for key, head in self.roles.order.items()}
            about['hm_is_probability'] = self.roles.is_probability
        return dict(about, device='elsewhere', **network)


class OutputsLoader:
    """Reads outputs batch by batch, in the order of the inputs or, with ``watch``, as they arrive.

    Attributes:
        found: what was found last.
        repeated: (image, earlier image) with the very same hm for different inputs.

    Args:
        folder: of the outputs.
        runner: is told the roles of the outputs.
        references: to tell them.
        batch_size: images per batch.
        watch: None reads what is there. Otherwise: seconds to wait for the next file before the rest counts
            as missing.
        delete: remove files once their images are in the journal; those of the references are kept.
    """

    def __init__(
        self,
        folder: str,
        runner: OutputsRunner,
        references: References,
        batch_size: int = 8,
        watch: Optional[float] = None,
        delete: bool = False,
    ) -> None:
        self.folder, self.runner, self.manifest = folder, runner, runner.manifest
        self.references = references
        self.batch_size, self.watch, self.delete = batch_size, watch, delete
        self.found = Found('nothing yet', {}, {}, [])
        self.repeated: List[Tuple[int, int]] = []
        self._seen: Dict[bytes, Tuple[int, int]] = {}
        self._places = self.manifest.places()
        self._kept = set(reference_positions(self.manifest, references))
        self._sizes: Dict[str, int] = {}
        self._sizes_before: Dict[str, int] = {}
        self._last_change = time.monotonic()
        self.look()

    def look(self) -> None:
        """Look for outputs, and find out which is which if that is not known yet."""
        try:
            self.found = find_outputs(self.folder, self.manifest, growing=self.watch is not None)
        except DataError:  # perhaps a file that is being written
            if not self._may_grow():
                raise
            return
        self._sizes, self._sizes_before = self._all_sizes(), self._sizes
        found = self.found
        if self.watch is not None:
            settled = [position for position in sorted(self._kept) if self._is_settled(position)]
            found = found._replace(parts={position: found.parts[position] for position in settled[:1]})
        if self.runner.roles is None:
            self.runner.roles = decide(found, self.manifest, self.references, self.runner.order)

    def __call__(self, image_ids: List[int]) -> Iterator[Batch]:
        """The batches of these images; what is missing or damaged is in their ``failures``."""
        waiting = OrderedDict()
        for image_id in image_ids:
            waiting.setdefault(self._places[image_id][0], []).append(image_id)
        self._last_change = time.monotonic()
        while waiting:
            ready = self._ready(waiting)
            for chunk in self._chunks(ready, waiting):
                batch = self._batch([(position, waiting.pop(position)) for position in chunk])
                yield batch
                if self.delete:  # the batch is in the journal by now
                    failed = {self._places[image_id][0] for image_id in batch.failures}
                    self._remove([position for position in chunk if position not in failed])
                self._last_change = time.monotonic()
            if not waiting:
                return
            if not self._may_grow():
                for chunk in self._chunks(list(waiting), dict(waiting)):
                    yield self._batch([(position, waiting.pop(position)) for position in chunk])
                return
            time.sleep(min(_POLL, max(0.01, self.watch)))
            self.look()

    def heads(self, position: int) -> Dict[str, np.ndarray]:
        """The heads of an input file, name -> float32 [images, channels, h, w].

        Raises:
            BadOutput: an output is missing, truncated, of another network or not finite.
        """
        roles, parts = self.runner.roles, self.found.parts.get(position)
        stem = self.manifest.files[position].stem
        if parts:
            return read_heads(parts, roles.order, position, self.manifest)
        if position in self.found.cells:
            others = [head for head in roles.order.values() if head != 'hm']
            fill = 0.0 if roles.is_probability else -1e4
            return read_cells(self.found.cells[position], others, fill, self.manifest)
        raise BadOutput(f'the outputs of {stem} are missing')

    def _may_grow(self) -> bool:
        return self.watch is not None and time.monotonic() - self._last_change <= self.watch

    def _is_settled(self, position: int) -> bool:
        """Whether all outputs of an input file are there, in full."""
        parts = self.found.parts.get(position, {})
        if len(parts) < len(self.runner.order or self.manifest.heads):
            return False
        images = len(self.manifest.files[position].images)
        return self._rests(position) and all(fits(part, images, self.manifest) for part in parts.values())

    def _ready(self, waiting: Mapping[int, List[int]]) -> List[int]:
        """The input files that can be read now. A file that is still being written is shorter than it should
        be; if it stays so, it counts as truncated in the end."""
        if self.runner.roles is None:
            return []
        if not self._may_grow():
            return list(waiting)
        ready = []
        for position in waiting:
            parts = self.found.parts.get(position, {})
            whole = set(self.runner.roles.order) <= set(parts) or position in self.found.cells
            if whole and self._rests(position):
                try:
                    self.heads(position)
                except BadOutput:
                    continue
                ready.append(position)
                if len(ready) >= 8 * self.batch_size:  # deleted before the next look
                    break
        return ready

    def _all_sizes(self) -> Dict[str, int]:
        """The size of every file, where files may grow."""
        sizes = {}
        if self.watch is not None:
            for position in set(self.found.parts) | set(self.found.cells):
                for path in self._paths(position):
                    with contextlib.suppress(OSError):
                        sizes[path] = os.path.getsize(path)
        return sizes

    def _rests(self, position: int) -> bool:
        """Whether the files of an input have not grown since the look before, and for a while."""
        for path in self._paths(position):
            try:
                changed = os.stat(path).st_mtime
            except OSError:
                return False
            if self._sizes.get(path, -1) != self._sizes_before.get(path) or time.time() - changed < _QUIET:
                return False
        return True

    def _paths(self, position: int) -> Set[str]:
        paths = {part.path for part in self.found.parts.get(position, {}).values()}
        return paths | ({self.found.cells[position]} if position in self.found.cells else set())

    def _chunks(self, positions: List[int], waiting: Mapping[int, List[int]]) -> Iterator[List[int]]:
        chunk, images = [], 0
        for position in positions:
            if chunk and images + len(waiting[position]) > self.batch_size:
                yield chunk
                chunk, images = [], 0
            chunk.append(position)
            images += len(waiting[position])
        if chunk:
            yield chunk

    def _batch(self, items: List[Tuple[int, List[int]]]) -> Batch:
        ids, times, geometries, parts, failures = [], [], [], [], {}
        for position, wanted in items:
            start = time.perf_counter()
            images = self.manifest.files[position].images
            try:
                if self.runner.roles is None:
                    raise BadOutput(f'the outputs of {self.manifest.files[position].stem} are missing')
                heads = self.heads(position)
            except BadOutput as error:
                failures.update((image_id, str(error)) for image_id in wanted)
                continue
            taken = [self._places[image_id][1] for image_id in wanted]
            for place in taken:
                self._note_repeated(images[place], heads['hm'][place])
            ids += wanted
            geometries += [images[place].geometry for place in taken]
            parts.append({name: array[taken] for name, array in heads.items()})
            each = 1000 * (time.perf_counter() - start) / len(wanted)
            times += [LoadTimes(each, 0.0)] * len(wanted)
        if not ids:
            return Batch([], [], [[]], failures)
        outputs = OrderedDict((name, np.concatenate([part[name] for part in parts])) for name in parts[0])
        return Batch(ids, times, [[Group(list(range(len(ids))), outputs, geometries)]], failures)

    def _note_repeated(self, image: Any, hm: np.ndarray) -> None:
        digest = hashlib.sha1(np.ascontiguousarray(hm)).digest()
        earlier = self._seen.setdefault(digest, (image.id, image.crc32))
        if earlier[0] != image.id and earlier[1] != image.crc32:
            self.repeated.append((image.id, earlier[0]))

    def _remove(self, positions: List[int]) -> None:
        for position in positions:
            if position in self._kept:
                continue
            if any(part.kind == 'polygraphy' for part in self.found.parts.get(position, {}).values()):
                continue  # one file has all images
            for path in self._paths(position):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
