"""The outputs of a device, image by image, ready to decode."""

import contextlib
import hashlib
import os
import time
from collections import OrderedDict
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from ..detection import Heads
from ..detection.heads import of_outputs
from ..system.errors import DataError, OptionError
from ..system.files import display_path
from .manifest import Image, Manifest
from .order import Order, decide
from .reference import References
from .tools import CELLS, POLYGRAPHY, BadOutput, Found, Output, check_finite, find_outputs

#: seconds between two looks at the folder
_POLL = 0.5
#: seconds without a change after which a file counts as written: half of a float32 output looks like float16
_QUIET = 2.0


class Arrived(NamedTuple):
    """What a device gave for an image.

    ``heads``: of a batch of one, to be decoded; None if its outputs are missing or damaged. ``milliseconds``:
    to read them. ``failure``: what is wrong with them.
    """

    image: Image
    heads: Optional[Heads]
    milliseconds: float
    failure: Optional[str]


class Outputs:
    """The outputs in a folder, which may still grow.

    Attributes:
        found: what was found last.
        order: which output is which head; None until one of the files tells.
        repeated: (image, earlier image) with the very same hm for different inputs.

    Args:
        folder: of the outputs.
        manifest, references: of the inputs.
        given: heads in the order of the outputs, as the user gives it, or None.
        peaks: how many detections of an image are wanted.
        watch: None reads what is there. Otherwise: seconds to wait for the next file before the rest counts
            as missing.

    Raises:
        DataError: there is no such folder, or what is in it cannot be read.
        OptionError: it is not known which output is which, or run_device.py kept fewer peaks.
    """

    def __init__(
        self,
        folder: str,
        manifest: Manifest,
        references: References,
        given: Optional[Sequence[str]] = None,
        peaks: int = 0,
        watch: Optional[float] = None,
    ) -> None:
        self.folder, self.manifest, self.references = folder, manifest, references
        self.given, self.peaks, self.watch = given, peaks, watch
        self.found = Found('nothing yet', {}, [])
        self.order: Optional[Order] = None
        self.repeated: List[Tuple[int, int]] = []
        self._places = manifest.places
        self._known = references.positions(manifest)
        self._hashes: Dict[bytes, Image] = {}
        self._states: Dict[str, Tuple[Tuple[int, float], float]] = {}
        self._look(watch is not None)

    def arrive(self, image_ids: Iterable[int]) -> Iterator[Arrived]:
        """What the device gave for these images, in the order of the inputs or, with ``watch``, as it
        arrives."""
        waiting = OrderedDict()
        for image_id in image_ids:
            waiting.setdefault(self._places[image_id][0], []).append(image_id)
        last = time.monotonic()
        while waiting:
            growing = self.watch is not None and time.monotonic() - last <= self.watch
            if self.watch is not None:
                self._look(growing)
            for position in list(waiting):
                start = time.perf_counter()
                heads, failure = {}, None
                try:
                    if growing and not self._rests(position):
                        continue
                    heads = self.heads(position)
                except BadOutput as error:
                    if growing:  # a file that is still being written is too short
                        continue
                    failure = str(error)
                ids = waiting.pop(position)
                each = 1000 * (time.perf_counter() - start) / len(ids)
                for image_id in ids:
                    place = self._places[image_id][1]
                    image = self.manifest.files[position].images[place]
                    own = {name: array[place] for name, array in heads.items()}
                    yield Arrived(image, None if failure else self._first(image, own), each, failure)
                last = time.monotonic()
            if waiting:
                time.sleep(min(_POLL, max(0.01, self.watch)))

    def has(self, image_id: int) -> bool:
        """Whether any output of an image is there."""
        return bool(self.found.parts.get(self._places[image_id][0]))

    def heads(self, position: int) -> 'OrderedDict[str, np.ndarray]':
        """The heads of an input file, name -> float32 [images, channels, h, w].

        Raises:
            BadOutput: an output is missing, truncated, of another network or not finite.
        """
        file, parts = self.manifest.files[position], self.found.parts.get(position)
        if not parts or self.order is None:
            raise BadOutput(f'the outputs of {file.stem} are missing')
        if CELLS in parts:
            return self._of_cells(parts[CELLS])
        for key in [*self.order.heads, *parts]:
            shown = f'output number {key}' if isinstance(key, int) else f'output {key}'
            if key not in parts:
                raise BadOutput(f'{shown} of {file.stem}, {self.order.heads[key]}, is missing')
            if key not in self.order.heads:
                raise BadOutput(f'{file.stem} has an output too many ({shown})')
        return OrderedDict(
            (head, parts[key].head(head, len(file.images), self.manifest))
            for key, head in self.order.heads.items()
        )

    def ready(self, heads: Dict[str, np.ndarray]) -> Heads:
        """Heads to be decoded, of arrays [channels, h, w] by name."""
        tensors = {name: torch.from_numpy(np.array(array))[None] for name, array in heads.items()}
        return of_outputs(tensors, self.order.is_probability)

    def reference_heads(self) -> Dict[int, Dict[str, np.ndarray]]:
        """Number of a reference image -> head -> float32 [channels, h, w]; without those that are missing or
        damaged, or have the cells around the peaks alone."""
        found = {}
        for position, places in self._known.items():
            with contextlib.suppress(BadOutput):
                heads = {} if CELLS in self.found.parts.get(position, ()) else self.heads(position)
                for place, number in places if heads else ():
                    found[number] = {name: array[place] for name, array in heads.items()}
        return found

    def remove(self, image_ids: Iterable[int]) -> None:
        """Remove the outputs of images, but those of the reference images."""
        if self.found.tool == POLYGRAPHY:  # one file has all images
            return
        for position in {self._places[image_id][0] for image_id in image_ids}.difference(self._known):
            for path in self._paths(position):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def _look(self, growing: bool) -> None:
        """Look for outputs, and find out which is which if that is not known yet."""
        try:
            self.found = find_outputs(self.folder, self.manifest, growing=self.watch is not None)
        except DataError:  # perhaps a file that is being written
            if not growing:
                raise
            return
        kept = (self.found.run or {}).get('peaks', self.peaks)
        if kept < self.peaks:
            raise OptionError(f'--max-detections {self.peaks}: run_device.py was run with --peaks {kept}')
        found = self.found
        if growing:
            outputs = len(self.given or self.manifest.heads)
            whole = [position for position in self._known if len(found.parts.get(position, {})) >= outputs]
            whole = [position for position in whole if self._rests(position)]
            found = found._replace(parts={position: found.parts[position] for position in whole[:1]})
        if self.order is None:
            self.order = decide(found, self.manifest, self.references, self.given)

    def _rests(self, position: int) -> bool:
        """Whether the files of an input have not changed for a while."""
        now, rests = time.monotonic(), True
        for path in self._paths(position):
            try:
                status = os.stat(path)
            except OSError:
                return False
            state = status.st_size, status.st_mtime
            before, since = self._states.get(path, (None, now))
            self._states[path] = state, since if state == before else now
            rests = rests and now - self._states[path][1] >= _QUIET
        return rests

    def _paths(self, position: int) -> List[str]:
        return sorted({output.path for output in self.found.parts.get(position, {}).values()})

    def _first(self, image: Image, heads: Dict[str, np.ndarray]) -> Heads:
        """The heads to be decoded; notes whether another image had the same."""
        digest = hashlib.sha1(np.ascontiguousarray(heads['hm'])).digest()
        earlier = self._hashes.setdefault(digest, image)
        if earlier.id != image.id and earlier.crc32 != image.crc32:
            self.repeated.append((image.id, earlier.id))
        return self.ready(heads)

    def _of_cells(self, output: Output) -> 'OrderedDict[str, np.ndarray]':
        """The heads of one image from a file of run_device.py: float32 [n, 3 + channels of the other
        outputs]; class, cell, hm, and the others' values at that cell."""
        shown, rows = display_path(output.path), output.content()
        height, width = self.manifest.cells
        others = [head for head in self.order.heads.values() if head != 'hm']
        counts = [self.manifest.heads[head] for head in others]
        if rows.ndim != 2 or rows.shape[1] != 3 + sum(counts) or not len(rows):
            raise BadOutput(f'{shown} has {list(rows.shape)} values, not {3 + sum(counts)} per cell')
        check_finite(rows, f'{shown} has {{}} values that are infinite or NaN')
        classes, cells = (rows[:, column].astype(np.int64) for column in (0, 1))
        fill = 0.0 if self.order.is_probability else -1e4
        heads = OrderedDict(hm=np.full((self.manifest.heads['hm'], height * width), fill, np.float32))
        if not all(
            0 <= found.min() <= found.max() < size for found, size in zip((classes, cells), heads['hm'].shape)
        ):
            raise BadOutput(f'{shown} has cells or classes that this network does not have')
        heads['hm'][classes, cells] = rows[:, 2]
        for head, values in zip(others, np.split(rows[:, 3:].T, np.cumsum(counts)[:-1])):
            heads[head] = np.zeros((len(values), height * width), np.float32)
            heads[head][:, cells] = values
        return OrderedDict((head, array.reshape(1, -1, height, width)) for head, array in heads.items())
