"""What `detect` keeps of the detections on pictures, and draws."""

from typing import Any, Dict, List, Optional, Tuple

import attr

from ..system.errors import OptionError
from .fields import option

#: what --save takes
SAVED = ('pictures', 'video', 'none')
Results = List[Dict[str, Any]]


def _share(_: Any, __: Any, value: float) -> None:
    if not 0 <= value <= 1:
        raise OptionError(f'--score {value:g} is not from 0 to 1')


def _above_zero(_: Any, __: Any, value: Optional[float]) -> None:
    if value is not None and not 0 < value < float('inf'):
        raise OptionError(f'--fps {value:g} is not a number above 0')


@attr.s(frozen=True, auto_attribs=True, kw_only=True)
class DetectOptions:
    """What is kept of the detections, and drawn. ``channels``: of the classes that are kept, None for all;
    ``fps``: frames per second that are taken of videos, None for all."""

    score: float = option(
        0.3,
        'keep detections with at least this score, 0 to 1 (default: 0.3)',
        check=_share,
        type=float,
        metavar='S',
    )
    save: Optional[str] = option(
        None,
        'pictures: draw the frames of videos as pictures, too; video: draw only videos; none: draw nothing'
        ' (default: draw pictures as pictures and videos as videos)',
        choices=SAVED,
    )
    fps: Optional[float] = option(
        None, 'take N frames per second of videos (default: all)', check=_above_zero, type=float, metavar='N'
    )
    channels: Optional[Tuple[int, ...]] = option()

    def keep(self, results: Results) -> Results:
        """The results that are kept, the best first."""
        kept = [
            result
            for result in results
            if result['score'] >= self.score
            and (self.channels is None or result['category_id'] - 1 in self.channels)
        ]
        return sorted(kept, key=lambda result: -result['score'])
