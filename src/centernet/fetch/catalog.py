"""The files that ``centernet fetch`` downloads: URLs, sizes and checksums."""

import re
from typing import List, NamedTuple, Sequence, Tuple, Union

from ..system.errors import OptionError

#: checkpoints go into the folder of models, COCO into that of the data set
GROUPS = ('weights', 'coco')
DRIVE = 'https://drive.usercontent.google.com/download?id={}&export=download&confirm=t'


class ZippedFile(NamedTuple):
    """One file of a zip archive. ``size`` in bytes."""

    path: str
    size: int
    sha256: str


class ZippedFolder(NamedTuple):
    """A folder of a zip archive that holds ``count`` files, named ``*<suffix>``."""

    path: str
    suffix: str
    count: int


class RemoteFile(NamedTuple):
    """A file to download. ``size`` in bytes; ``urls`` are tried in this order; ``contents`` is what to
    extract, for a zip archive."""

    name: str
    group: str
    size: int
    sha256: str
    urls: Tuple[str, ...]
    contents: Union[ZippedFile, ZippedFolder, None] = None


DLA_34 = RemoteFile(
    'ctdet_coco_dla_2x.pth',
    'weights',
    80911783,
    '43bf4cc2efe00e02c1ae8484035b062a35543872d276c7dcfeb4db3e64203e4f',
    (DRIVE.format('18Q3fzzAsha_3Qid6mn4jcIFPeOGUaj1d'), DRIVE.format('1pl_-ael8wERdUREEnaIfqOV_VF2bEVRT')),
)
RESDCN_18 = RemoteFile(
    'ctdet_coco_resdcn18.pth',
    'weights',
    57825323,
    'f9e413f91cdb235adbcb41c5c4052b8f7ff53999374048949789c29d6df18eaa',
    (DRIVE.format('1RtFps3kQAyLjQyzCao7pPDclOBQ64Vyp'),),
)
VAL_IMAGES = ZippedFolder('val2017', '.jpg', 5000)
VAL_ANNOTATIONS = ZippedFile(
    'annotations/instances_val2017.json',
    19987840,
    'e8c7f7908f1d7278341fae127d0da654f102f11bd7b21d8aeefa635b8c810b6f',
)
FILES = (
    DLA_34,
    RESDCN_18,
    RemoteFile(
        'val2017.zip',
        'coco',
        815585330,
        '4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05',
        ('http://images.cocodataset.org/zips/val2017.zip',),
        VAL_IMAGES,
    ),
    RemoteFile(
        'annotations_trainval2017.zip',
        'coco',
        252907541,
        '113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268',
        ('http://images.cocodataset.org/annotations/annotations_trainval2017.zip',),
        VAL_ANNOTATIONS,
    ),
)


def choose(words: Sequence[str] = (), mirrors: Sequence[str] = ()) -> List[RemoteFile]:
    """Return the files in these groups or with these names; ``all``, or no word, selects every file.

    Args:
        words: groups and names.
        mirrors: URLs of folders; ``<mirror>/<name>`` is tried before a file's own URLs.

    Raises:
        OptionError: a word is neither a group nor a name, or a mirror is not an HTTP or HTTPS URL.
    """
    known = ['all', *GROUPS, *(file.name for file in FILES)]
    for word in words:
        if word not in known:
            raise OptionError(f"unknown file '{word}'; choose from {', '.join(known)}")
    for mirror in mirrors:
        if not re.match(r'https?://[^/]', mirror):
            raise OptionError(f'--mirror must be a URL such as https://files.example/coco, not {mirror!r}')
    return [
        file._replace(urls=tuple(f'{mirror.rstrip("/")}/{file.name}' for mirror in mirrors) + file.urls)
        for file in FILES
        if not words or {'all', file.group, file.name}.intersection(words)
    ]
