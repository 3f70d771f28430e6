"""The six errors of TIDE, against the figures of its authors' own tool."""

import sys
import types

import numpy as np
import pytest
from support.made_up import made_up_run, run_of

from centernet.coco import CocoData
from centernet.report.errors import KINDS, error_weights
from centernet.report.matches import match

#: tidecv 1.0.1, of made_up_run(seed=1, classes=4): AP50, then the six errors in KINDS' order
TIDECV = (49.053015, (7.500502, 16.469121, 3.487773, 0.003481, 2.852661, 7.264516))
#: short names of tidecv's errors in KINDS' order
SHORT = ('Cls', 'Loc', 'Both', 'Dupe', 'Bkg', 'Miss')


@pytest.fixture(scope='module')
def tidecv():
    """The package, without the plots that need seaborn and pandas."""
    needed = ('appdirs', 'matplotlib', 'matplotlib.pyplot', 'matplotlib.lines', 'pandas', 'seaborn')
    added = [name for name in needed if name not in sys.modules]
    for name in added:
        sys.modules[name] = types.ModuleType(name)
    for name, member in (('appdirs', 'user_data_dir'), ('matplotlib.lines', 'Line2D')):
        if name in added:
            setattr(sys.modules[name], member, object)
    if 'matplotlib' in added:
        sys.modules['matplotlib'].pyplot = sys.modules['matplotlib.pyplot']
    try:
        import tidecv
    except ImportError:
        pytest.skip('tidecv is not installed; .ci/run oracle installs it')
    finally:
        for name in added:
            del sys.modules[name]
    tidecv.quantify.P.Plotter = lambda: None
    return tidecv


def by_tidecv(tidecv, run):
    """AP50 and the six errors, in percent, as tidecv computes them."""
    truth, found = tidecv.data.Data('truth'), tidecv.data.Data('found')
    for category, name in run.data.evaluated:
        truth.add_class(category, name)
    for image_id in run.image_ids:
        truth.add_image(image_id, str(image_id))
    for entry in run.data.to_dataset()['annotations']:
        add = truth.add_ignore_region if entry['iscrowd'] else truth.add_ground_truth
        add(entry['image_id'], entry['category_id'], entry['bbox'])
    for result in run.results:
        found.add_detection(result['image_id'], result['category_id'], result['score'], result['bbox'])
    tide = tidecv.TIDE()
    tide.evaluate(truth, found, mode=tidecv.TIDE.BOX, name='run')
    errors = tide.get_main_errors()['run']
    return tide.runs['run'].ap, [errors[name] for name in SHORT]


def test_all_six_errors_are_those_that_tidecv_found():
    run = made_up_run(seed=1, classes=4)
    found = error_weights(match(run))
    assert found.ap50 == pytest.approx(TIDECV[0], abs=1e-5)
    assert [found.weights[kind] for kind in KINDS] == pytest.approx(TIDECV[1], abs=1e-5)
    assert all(found.counts.values()) and all(TIDECV[1])


@pytest.mark.parametrize('seed', [None, *range(6)])
def test_against_tidecv(tidecv, sample_run, seed):
    """The sample, and made-up sets of 1 to 21 classes."""
    run = sample_run if seed is None else made_up_run(seed=seed, classes=1 + 4 * seed)
    ap, errors = by_tidecv(tidecv, run)
    found = error_weights(match(run))
    assert found.ap50 == pytest.approx(ap, abs=1e-9)
    assert list(found.weights.values()) == pytest.approx(errors, abs=1e-9)


BOX = [100, 100, 100, 100]


@pytest.mark.parametrize(
    'objects, detections, counts, ap50',
    [
        ([(BOX, 1)], [([102, 100, 100, 100], 2, 0.9)], {'classification': 1}, 0),
        ([(BOX, 1)], [([150, 100, 100, 100], 1, 0.9)], {'localization': 1}, 0),
        ([(BOX, 1)], [([150, 100, 100, 100], 2, 0.9)], {'both': 1, 'missed': 1}, 0),
        ([(BOX, 1)], [([400, 300, 50, 50], 1, 0.9)], {'background': 1, 'missed': 1}, 0),
        ([(BOX, 1)], [(BOX, 1, 0.9), ([104, 100, 100, 100], 1, 0.8)], {'duplicate': 1}, 100),
        ([(BOX, 1), (BOX, 2)], [], {'missed': 2}, 0),
        ([], [(BOX, 1, 0.9)], {'background': 1}, 0),
    ],
)
def test_one_error_of_a_kind(objects, detections, counts, ap50):
    """What TIDE's paper calls each."""
    found = one_image(objects, detections)
    assert found.counts == dict(dict.fromkeys(KINDS, 0), **counts)
    assert found.ap50 == pytest.approx(ap50)
    assert np.isfinite(list(found.weights.values())).all()


def one_image(objects, detections):
    """The errors of an image with objects (box, category) and detections (box, category, score)."""
    annotations = [
        {'id': number, 'image_id': 1, 'category_id': category, 'bbox': box, 'area': 1e4, 'iscrowd': 0}
        for number, (box, category) in enumerate(objects, start=1)
    ]
    dataset = {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'width': 640, 'height': 480}],
        'categories': [{'id': 1, 'name': 'one'}, {'id': 2, 'name': 'two'}],
        'annotations': annotations,
    }
    results = [
        {'image_id': 1, 'category_id': category, 'bbox': box, 'score': score}
        for box, category, score in detections
    ]
    run = run_of(CocoData(dataset, 'annotations.json', 'images'), results)
    return error_weights(match(run))
