"""What a run goes over: images with an id and a name, in order."""

from typing import Any, Container, Iterable, Iterator, Optional, Sequence, Tuple

from ..coco import CocoData
from .batches import Batch, make_loader, plan_batches
from .record import Category, Record


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

    def batches(self, record: Record, finished: Container[int]) -> Tuple[int, Iterator[Batch]]:
        """The preprocessed images that are not finished, as the record's protocol and loading say; and before
        them how many batches there will be, at least."""
        raise NotImplementedError

    def paths(self) -> Iterable[str]:
        """The files and folders that are read, which no output may replace."""
        raise NotImplementedError


class DataSource(Source):
    """The selected images of a data set."""

    def __init__(self, data: CocoData, ids: Sequence[int]) -> None:
        self.data, self.ids, self.total = data, list(ids), len(ids)
        self.name, self.channels = data.annotations, data.channels

    def batches(self, record: Record, finished: Container[int]) -> Tuple[int, Iterator[Batch]]:
        spec, loading = record.protocol.input, record.loading

        def size_of(image_id: int) -> Any:
            """The input size that the annotations state; None for all if they have the same."""
            entry = self.data.entries[image_id]
            sides = entry.get('width'), entry.get('height')
            is_known = spec.keep_res and all(isinstance(side, int) for side in sides)
            return tuple(side | spec.pad for side in sides) if is_known else None

        todo = [(image_id, self.data.file(image_id)) for image_id in self.ids if image_id not in finished]
        batches = plan_batches(todo, loading.batch_size, size_of)
        return len(batches), make_loader(batches, spec, record.protocol.test_scales, loading.workers)

    def paths(self) -> Iterable[str]:
        return [self.data.annotations, self.data.images]
