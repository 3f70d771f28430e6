import pytest

from centernet.runners.recorded import stored_size


@pytest.mark.parametrize(
    'value, size',
    [
        ([128, 96], (128, 96)),
        ((64, 64), (64, 64)),
        (['a', 'b'], None),
        ([64.0, 64.0], None),
        ([True, True], None),
        ([0, 64], None),
        ([-64, 64], None),
        ([64], None),
        ([64, 64, 3], None),
        ('64', None),
        (64, None),
        (None, None),
    ],
)
def test_only_two_positive_whole_numbers_are_a_size(value, size):
    assert stored_size(value) == size
