"""The options of a detection."""

from typing import NamedTuple, Optional, Tuple

from ..evaluation import EvalOptions

#: what --save takes
SAVED = ('pictures', 'video', 'none')


class DetectOptions(NamedTuple):
    """How to detect.

    ``evaluation``: the protocol and the loading, as for an evaluation. ``score``: the lowest score that is
    kept. ``classes``: channels that are kept, None for all. ``save``: None draws pictures of pictures and
    videos of videos; ``pictures`` draws the frames of a video as pictures, too, ``video`` videos alone.
    ``fps``: frames per second that are taken of a video, None for all.
    """

    evaluation: EvalOptions
    score: float = 0.3
    classes: Optional[Tuple[int, ...]] = None
    save: Optional[str] = None
    fps: Optional[float] = None
