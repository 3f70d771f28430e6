"""Curves and figures of classes, against COCOeval and against counting."""

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval
from support.made_up import made_up_run

from centernet.coco import STAT_NAMES
from centernet.coco.class_evaluation import create_index, silence_stdout
from centernet.report import analyse
from centernet.report.curves import CURVES, SCORES, precision_curves, score_curves
from centernet.report.matches import match


@pytest.fixture(scope='module')
def run():
    return made_up_run(seed=3, classes=4, images=40)


@pytest.fixture(scope='module')
def coco_eval(run):
    """COCOeval of all classes and images at once, as everybody calls it."""
    dataset = run.data.to_dataset()
    found = [
        dict(result, id=number, iscrowd=0, area=result['bbox'][2] * result['bbox'][3])
        for number, result in enumerate(run.results, start=1)
    ]
    with silence_stdout():
        evaluator = COCOeval(create_index(dataset), create_index(dict(dataset, annotations=found)), 'bbox')
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def test_the_points_are_coco_evals(run, coco_eval):
    matches = match(run)
    assert np.array_equal(matches.precision, coco_eval.eval['precision'])
    assert [matches.metrics.stats[name] for name in STAT_NAMES] == list(coco_eval.stats)
    table = coco_eval.eval['precision'][:, :, :, 0, 2]  # any area, 100 detections
    for number in range(4):
        curves = precision_curves(matches, number)
        assert np.array_equal(curves['0.50'], table[0, :, number])
        assert np.array_equal(curves['0.75'], table[5, :, number])
        assert np.allclose(curves['0.50:0.95'], table[:, :, number].mean(axis=0), atol=0, rtol=1e-15)
    means = [precision_curves(matches)[name].mean() for name in CURVES]
    assert means == pytest.approx([matches.metrics.stats[name] for name in ('AP', 'AP50', 'AP75')], abs=1e-12)


def test_matches_are_coco_evals(run, coco_eval):
    """Every match of all classes at once at IoU 0.5 is one of ours, and no other."""
    matches, expected = match(run), {}
    for found in coco_eval.evalImgs:
        if found is not None and found['aRng'] == [0, 1e5**2]:
            expected.update(zip(found['dtIds'], found['dtMatches'][0].astype(int)))
    assert {number + 1: item + 1 for number, item in enumerate(matches.found)} == expected
    true, _, missed = matches.verdicts()
    assert true.sum() == matches.positives.sum() - missed.sum()


@pytest.mark.parametrize('step', [0, 1, 17, 43, 80, 100])
def test_precision_recall_and_f1_at_a_score(run, step):
    matches, score = match(run), SCORES[step]
    curves, found, is_true = score_curves(matches), matches.detections, matches.verdicts()[0]
    for number in range(4):
        kept = (found.classes == number) & (np.round(found.scores * 100) >= step) & ~found.ignored
        true, positives = (kept & is_true).sum(), matches.positives[number]
        precision, recall = true / kept.sum() if kept.any() else 1.0, true / positives
        f1 = 2 * precision * recall / (precision + recall) if true else 0.0
        got = [table[number, step] for table in curves]
        assert got == pytest.approx([precision, recall, f1]), (number, score)


def test_the_best_score(run):
    found = analyse(run)
    mean = found.curves.mean_f1()
    assert mean[round(found.score * 100)] == mean.max()
    for row, table in zip(found.classes, found.curves.f1):
        assert row.values['best_f1'] == table.max() == table[round(row.values['best_score'] * 100)]


def test_figures_of_a_class(run):
    found = analyse(run)
    annotations = run.data.to_dataset()['annotations']
    for (category, name), row in zip(run.data.evaluated, found.classes):
        assert row.name == name
        assert row.values['ap'] == pytest.approx(found.matches.metrics.per_class[name], abs=1e-12)
        own = [item for item in annotations if item['category_id'] == category and not item['iscrowd']]
        assert row.objects == len(own)


def test_a_class_without_objects():
    run = made_up_run(seed=0, classes=6, images=3, per_image=1)
    missing = set(range(6)) - set(np.flatnonzero(match(run).positives))
    assert missing, 'choose another seed'
    found = analyse(run)
    for number in missing:
        row = found.classes[number]
        assert row.objects == 0 and set(row.values.values()) == {None}
        assert precision_curves(found.matches, number) == {}
    assert np.isfinite(found.curves.mean_f1()).all()
    assert precision_curves(found.matches)['0.50'].mean() == pytest.approx(
        found.matches.metrics.stats['AP50']
    )
