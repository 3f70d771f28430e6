import numpy as np
import pytest
import torch

from centernet.system.errors import NotFiniteError, OutputsError, ShapeError
from centernet.verification import compare_heads, tolerances


def heads(seed=0, images=2, classes=3, size=(8, 8)):
    random = np.random.RandomState(seed)
    return {
        name: torch.from_numpy(random.standard_normal((images, channels) + size).astype(np.float32))
        for name, channels in (('hm', classes), ('wh', 2), ('reg', 2))
    }


def moved(batch, name, by, where=(0, 1, 2, 3)):
    """Return a copy with one value changed."""
    changed = batch[name].clone()
    changed[where] += by
    return dict(batch, **{name: changed})


def failed(stage):
    return [check.name for check in stage.checks if not check.passed]


def test_the_same_heads_are_the_same():
    found = compare_heads([heads(0), heads(1)], [heads(0), heads(1)])
    assert found.passed
    assert found.facts['images'] == 4
    assert list(found.facts['heads']) == ['hm', 'wh', 'reg']
    assert found.facts['heads']['hm']['shape'] == (4, 3, 8, 8)
    for head in found.facts['heads'].values():
        assert set(head['absolute'].values()) == {0} and head['correlation'] == pytest.approx(1)


@pytest.mark.parametrize('name', ['hm', 'wh', 'reg'])
@pytest.mark.parametrize('share, same', [(0.9, True), (1.1, False), (-1.1, False), (1e4, False)])
def test_one_value_decides_against_the_heads_scale(name, share, same):
    scale = float(heads()[name].abs().max())
    found = compare_heads([heads()], [moved(heads(), name, share * 1e-4 * scale)])
    assert found.passed == same
    assert failed(found) == ([] if same else [name])
    head = found.facts['heads'][name]
    assert head['scale'] == pytest.approx(scale)
    assert head['limit'] == pytest.approx(tolerances.HEADS.limit * scale)
    assert head['absolute']['max'] == pytest.approx(abs(share) * 1e-4 * scale, rel=1e-2)


def test_figures_are_what_numpy_says():
    ours, others = heads(0), heads(1)
    found = compare_heads([ours], [others]).facts['heads']['wh']
    ours, others = ours['wh'].numpy(), others['wh'].numpy()
    difference = np.abs(ours - others)
    relative = difference / np.maximum(np.abs(ours), 1e-3 * np.abs(ours).max())
    for figures, values in ((found['absolute'], difference), (found['relative'], relative)):
        assert figures == pytest.approx(
            {
                'max': values.max(),
                'mean': values.mean(),
                'median': np.median(values),
                'p99': np.percentile(values, 99),
            },
            rel=1e-5,
        )
    assert found['correlation'] == pytest.approx(np.corrcoef(ours.ravel(), others.ravel())[0, 1], abs=1e-5)


def test_outputs_are_compared_by_name_whatever_their_order():
    ours = {name: value.numpy() for name, value in heads().items()}
    assert compare_heads([ours], [dict(reversed(list(ours.items())))]).passed
    assert failed(compare_heads([ours], [dict(ours, wh=ours['reg'], reg=ours['wh'])])) == ['wh', 'reg']


@pytest.mark.parametrize(
    'others, message',
    [
        ({'boxes': np.zeros((2, 3))}, 'no output hm, wh, reg, but boxes'),
        ({name: value for name, value in heads().items() if name != 'reg'}, 'no output reg, but hm, wh'),
    ],
)
def test_a_missing_output_is_an_error(others, message):
    with pytest.raises(OutputsError, match=message):
        compare_heads([heads()], [others])


def test_another_shape_is_an_error():
    with pytest.raises(ShapeError, match=r'hm is \[2, 4, 8, 8\], not \[2, 3, 8, 8\]'):
        compare_heads([heads()], [heads(classes=4)])


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('side, whose', [(0, 'the PyTorch model'), (1, 'the file')])
def test_values_that_are_not_finite_are_an_error(value, side, whose):
    pair = [heads(), heads()]
    pair[side] = moved(pair[side], 'wh', value)
    with pytest.raises(NotFiniteError, match=f'wh of {whose} has 1 values'):
        compare_heads([pair[0]], [pair[1]])


def test_a_head_of_zeros_must_be_zero():
    zeros = {'hm': np.zeros((1, 3, 4, 4), np.float32)}
    assert compare_heads([zeros], [zeros]).passed
    found = compare_heads([zeros], [{'hm': np.full((1, 3, 4, 4), 1e-7, np.float32)}])
    assert not found.passed
    assert found.facts['heads']['hm']['correlation'] is None
    assert np.isfinite(found.facts['heads']['hm']['relative']['max'])


def test_huge_values_have_finite_figures():
    huge = {'wh': heads()['wh'] * 1e30}
    found = compare_heads([huge], [{'wh': huge['wh'] * 1.5}])
    assert not found.passed
    head = found.facts['heads']['wh']
    assert np.isfinite([*head['absolute'].values(), *head['relative'].values()]).all()
    assert head['correlation'] == pytest.approx(1)


def test_every_tolerance_says_why():
    for name, tolerance in tolerances.TABLE.items():
        assert tolerance.limit > 0 and len(tolerance.why) > 40 and tolerance.unit, name
