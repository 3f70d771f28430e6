"""What a run goes over: images with an id and a name, in order."""

from typing import Any, Callable, Container, Iterable, Iterator, List, Optional, Sequence, Tuple

from ..coco import CocoData
from ..detection import InputSpec
from .batches import Batch, make_loader, plan_batches
from .record import Category, Record


class Batches:
    """Loaded batches. ``count``: how many there will be, at least."""

    def __init__(self, count: int, load: Callable[[], Iterator[Batch]]) -> None:
        self.count, self._load = count, load

    def __iter__(self) -> Iterator[Batch]:
        return self._load()


class Source:
    """Images with an id, in order.

    Attributes:
        name: for messages.
        channels: (category id, name) by channel of the network, None for a channel without one.
        ids: of the images, in order; of videos, those that are known in advance.
        total: how many images there are, None if nobody knows.
    """

    name: str
    channels: Sequence[Category]
    ids: Sequence[int]
    total: Optional[int]

    def batches(self, record: Record, finished: Container[int]) -> Batches:
        """The preprocessed images that are not finished, as the record's protocol and loading say."""
        raise NotImplementedError

    def paths(self) -> Iterable[str]:
        """The files and folders that are read, which no output may replace."""
        raise NotImplementedError


class DataSource(Source):
    """The selected images of a data set."""

    def __init__(self, data: CocoData, ids: Sequence[int]) -> None:
        self.data, self.ids, self.total = data, list(ids), len(ids)
        self.name, self.channels = data.annotations, data.channels

    def batches(self, record: Record, finished: Container[int]) -> Batches:
        spec, loading = record.protocol.input, record.loading
        todo = [image_id for image_id in self.ids if image_id not in finished]
        batches = plan_batches(todo, _input_sizes(self.data, todo, spec), loading.batch_size)
        files = [(image_id, self.data.file(image_id)) for image_id in todo]
        scales = record.protocol.test_scales
        return Batches(len(batches), lambda: make_loader(files, spec, scales, batches, loading.workers))

    def paths(self) -> Iterable[str]:
        return [self.data.annotations, self.data.images]


def _input_sizes(
    data: CocoData, ids: List[int], spec: InputSpec
) -> Optional[List[Optional[Tuple[int, int]]]]:
    """Return the input sizes that the annotations state, to group by: None for an image without a size, or
    None altogether if all images have the same input size."""
    if not spec.keep_res:
        return None
    sizes: List[Any] = [
        (data.entries[image_id].get('width'), data.entries[image_id].get('height')) for image_id in ids
    ]
    return [
        (width | spec.pad, height | spec.pad) if isinstance(width, int) and isinstance(height, int) else None
        for width, height in sizes
    ]
