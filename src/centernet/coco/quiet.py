"""pycocotools without its prints."""

import contextlib
import io

from pycocotools.coco import COCO


@contextlib.contextmanager
def quiet():
    """pycocotools reports to stdout what it does, which would mix with our own output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def index(dataset):
    """A COCO object of a dict with images, annotations and categories."""
    coco = COCO()
    coco.dataset = dataset
    with quiet():
        coco.createIndex()
    return coco
