"""Where the outputs of a device are: the records that :mod:`.finding` makes and :mod:`.reading` reads."""

from typing import Any, Dict, List, NamedTuple, Optional, Union

#: the name of an output, or, where a tool numbers them, its number from 0
Key = Union[str, int]


class Part(NamedTuple):
    """Where an output of one input file is.

    ``kind``: ``raw`` (numbers alone), ``npy``, ``trtexec`` or ``polygraphy``. ``run``: of Polygraphy, the
    position among the file's results.
    """

    path: str
    kind: str
    key: Key
    run: int = 0


class Found(NamedTuple):
    """The outputs in a folder.

    ``tool``: for people. ``parts``: position of the input file -> key -> Part. ``cells``: position -> file
    of run_device.py. ``foreign``: files that belong to none of the inputs. ``run``: run.json.
    """

    tool: str
    parts: Dict[int, Dict[Key, Part]]
    cells: Dict[int, str]
    foreign: List[str]
    run: Optional[Dict[str, Any]] = None

    @property
    def keys(self) -> List[Key]:
        """The outputs that an input file has, from the first that has the most."""
        return list(max(self.parts.values(), key=len)) if self.parts else []
