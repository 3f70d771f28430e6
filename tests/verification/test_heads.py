import numpy as np
import pytest
import torch

from centernet.detection import Heads
from centernet.errors import NotFiniteError, OutputsError, ShapeError
from centernet.verification import Figures, compare_heads, tolerances


def heads(seed=0, images=2, classes=3, size=(8, 8)):
    random = np.random.RandomState(seed)
    return Heads(
        *(
            torch.from_numpy(random.standard_normal((images, channels) + size).astype(np.float32))
            for channels in (classes, 2, 2)
        )
    )


def moved(batch, name, by, where=(0, 1, 2, 3)):
    """Return a copy with one value changed."""
    changed = getattr(batch, name).clone()
    changed[where] += by
    return batch._replace(**{name: changed})


def test_the_same_heads_are_the_same():
    found = compare_heads([heads(0), heads(1)], [heads(0), heads(1)])
    assert found
    assert found.images == 4
    assert [head.name for head in found.heads] == ['hm', 'wh', 'reg']
    assert found.heads[0].shape == (4, 3, 8, 8)
    assert all(
        head.absolute == Figures(0, 0, 0, 0) and head.correlation == pytest.approx(1) for head in found.heads
    )


@pytest.mark.parametrize('name', ['hm', 'wh', 'reg'])
@pytest.mark.parametrize('share, same', [(0.9, True), (1.1, False), (-1.1, False), (1e4, False)])
def test_one_value_decides_against_the_heads_scale(name, share, same):
    scale = float(getattr(heads(), name).abs().max())
    found = compare_heads([heads()], [moved(heads(), name, share * 1e-4 * scale)])
    assert bool(found) == same
    by_name = {head.name: head for head in found.heads}
    assert [head.name for head in found.heads if not head] == ([] if same else [name])
    assert by_name[name].scale == pytest.approx(scale)
    assert by_name[name].limit == pytest.approx(tolerances.HEADS.limit * scale)
    assert by_name[name].absolute.max == pytest.approx(abs(share) * 1e-4 * scale, rel=1e-2)


def test_figures_are_what_numpy_says():
    ours, others = heads(0), heads(1)
    found = compare_heads([ours], [others]).heads[1]
    difference = np.abs(ours.wh.numpy() - others.wh.numpy())
    relative = difference / np.maximum(np.abs(ours.wh.numpy()), 1e-3 * np.abs(ours.wh.numpy()).max())
    for figures, values in ((found.absolute, difference), (found.relative, relative)):
        assert figures == pytest.approx(
            (values.max(), values.mean(), np.median(values), np.percentile(values, 99)), rel=1e-5
        )
    assert found.correlation == pytest.approx(
        np.corrcoef(ours.wh.numpy().ravel(), others.wh.numpy().ravel())[0, 1], abs=1e-5
    )


def test_outputs_are_compared_by_name_whatever_their_order():
    ours = {name: value.numpy() for name, value in heads()._asdict().items()}
    assert compare_heads([ours], [dict(reversed(list(ours.items())))])
    exchanged = dict(ours, wh=ours['reg'], reg=ours['wh'])
    assert [head.name for head in compare_heads([ours], [exchanged]).heads if not head] == ['wh', 'reg']


def test_no_common_outputs_is_an_error():
    with pytest.raises(OutputsError, match=r'common outputs: hm, wh, reg .* boxes'):
        compare_heads([heads()], [{'boxes': np.zeros((2, 3))}])


def test_a_missing_output_is_an_error():
    with pytest.raises(OutputsError, match=r'reg is missing .* hm, wh'):
        compare_heads(
            [heads()], [{name: value for name, value in heads()._asdict().items() if name != 'reg'}]
        )


@pytest.mark.parametrize('ours, others', [([], []), ([heads()], [])])
def test_nothing_to_compare_is_an_error(ours, others):
    with pytest.raises(OutputsError, match='nothing to compare'):
        compare_heads(ours, others)


def test_another_shape_is_an_error():
    with pytest.raises(ShapeError, match=r'hm .*\[2, 4, 8, 8\] .*\[2, 3, 8, 8\]'):
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
    assert compare_heads([zeros], [zeros])
    found = compare_heads([zeros], [{'hm': np.full((1, 3, 4, 4), 1e-7, np.float32)}])
    assert not found
    assert found.heads[0].correlation is None
    assert np.isfinite(found.heads[0].relative.max)


def test_huge_values_have_finite_figures():
    huge = heads()._replace(wh=heads().wh * 1e30)
    found = compare_heads([huge], [huge._replace(wh=huge.wh * 1.5)]).heads[1]
    assert not found
    assert np.isfinite(found.absolute + found.relative).all()
    assert found.correlation == pytest.approx(1)


def test_every_tolerance_says_why():
    for name, tolerance in tolerances.TABLE:
        assert tolerance.limit > 0 and len(tolerance.why) > 40 and tolerance.unit, name
    assert {tolerance for _, tolerance in tolerances.TABLE} == {
        value for value in vars(tolerances).values() if isinstance(value, tolerances.Tolerance)
    }
