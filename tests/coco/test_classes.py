import pytest

from centernet.coco import COCO_CLASSES
from centernet.coco.categories import match_classes
from centernet.system.errors import OptionError

PETS = [(1, 'cat'), (5, 'dog'), (9, 'hot dog')]


def match(categories, count=None, names=None, wanted=None, objects=None, groups=()):
    """Match; all categories have objects unless told otherwise. Return (ids by channel, the note or '')."""
    objects = {number for number, _ in categories} if objects is None else set(objects)
    count = len(names) if count is None else count
    channels, notes = match_classes(categories, objects, dict(groups), count, names, wanted)
    assert len(channels) == count and len(notes) <= 1 and set(channels) <= set(categories) | {None}
    return [category and category[0] for category in channels], ''.join(notes)


def refused(*args, **kwargs):
    with pytest.raises(OptionError) as caught:
        match(*args, **kwargs)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_the_usual_order_needs_no_line():
    assert match(PETS, names=['cat', 'dog', 'hot dog']) == ([1, 5, 9], '')
    assert match(list(enumerate(COCO_CLASSES, 1)), 80) == (list(range(1, 81)), '')


def test_by_name_whatever_the_order_and_the_spelling():
    found, note = match(PETS, names=['Hot-Dog', 'DOG', 'c_at'])
    assert found == [9, 5, 1]
    assert 'by name' in note


def test_fewer_categories_than_channels_are_matched_by_name():
    found, note = match([(0, 'car'), (1, 'person')], 80)
    assert found == [1, None, 0] + [None] * 77
    assert 'by name' in note and '78 of 80' in note
    assert match([(7, 'person')], 80)[0] == [7] + [None] * 79


def test_categories_without_objects_may_match_nothing():
    found, note = match([(0, 'pets')] + PETS, names=['cat', 'dog', 'hotdog'], objects=[1, 5, 9])
    assert found == [1, 5, 9]
    assert 'by name' in note and 'pets' in note


def test_names_that_are_not_known():
    found, note = match(PETS, 3)
    assert found == [1, 5, 9]
    assert 'names no classes' in note and 'order of the ids' in note
    assert 'order of the ids' in match([(n, f'class {n}') for n in range(80)], 80)[1]  # 80, but not COCO's


def test_a_category_that_names_the_group_of_the_others_is_left_out():
    categories, groups = [(0, 'pets')] + PETS, {0: 'none', 1: 'pets', 5: 'pets', 9: 'pets'}
    found, note = match(categories, 3, objects=[1, 5, 9], groups=groups)
    assert found == [1, 5, 9]
    assert 'left out: pets' in note and 'order of the ids' in note
    assert match(categories, names=['a', 'b', 'c'], objects=[1, 5, 9], groups=groups)[0] == [1, 5, 9]
    # with a channel of its own, it stays
    assert match(categories, 4, objects=[1, 5, 9], groups=groups)[0] == [0, 1, 5, 9]
    # with objects, it is a category like the others
    assert 'data set (4)' in refused(categories, 3, groups=groups)
    # before there are any objects, as in a test set
    assert match(categories, names=['dog', 'cat', 'hot dog'], objects=[], groups=groups)[0] == [5, 1, 9]


def test_a_category_of_its_own_group_stays():
    categories, groups = [(1, 'person'), (2, 'car')], {1: 'person', 2: 'vehicle'}
    assert 'data set (2)' in refused(categories, 1, objects=[2], groups=groups)


def test_no_name_in_common():
    found, note = match(PETS, names=['a', 'b', 'c'])
    assert found == [1, 5, 9]
    assert 'cat, dog, hot dog' in note and 'order of the ids' in note
    assert '--categories' in refused(PETS, names=['a', 'b', 'c', 'd'])


def test_names_that_are_spelled_differently():
    spelled = {'airplane': 'aeroplane', 'motorcycle': 'motorbike', 'couch': 'sofa', 'tv': 'tvmonitor'}
    categories = [(number, spelled.get(name, name)) for number, name in enumerate(COCO_CLASSES)]
    found, note = match(categories, 80)
    assert found == list(range(80))
    assert (
        'not classes of the network: motorbike, aeroplane, sofa, tvmonitor; class i' in note
        and 'order of the ids' in note
    )


def test_a_stranger_among_names_in_another_order_is_an_error():
    message = refused(PETS, names=['dog', 'cat', 'bird'])
    assert 'not classes of the network: hot dog' in message
    assert '--categories=dog,cat,-' in message


def test_different_counts_of_unknown_names_are_an_error():
    message = refused(PETS, 2)
    assert 'classes (2)' in message and 'categories of the data set (3)' in message
    assert '--categories=cat,dog' in message
    assert "--categories='cat,dog,hot dog,-'" in refused(PETS, 4)


def test_the_example_of_an_error_can_be_given():
    """A name that would not survive the command line is shown as its id."""
    categories = [(3, 'a,b'), (4, '-'), (5, '@x'), (6, 'x' * 100), (7, 'fine')]
    assert '--categories=3,4,5,6,fine,-' in refused(categories, 6)
    assert match(categories, 6, wanted=['3', '4', '5', '6', 'fine', '-'])[0] == [3, 4, 5, 6, 7, None]


def test_an_error_stays_short():
    many = [(number, f'{number} ' + 'x' * 30) for number in range(5000)]
    assert len(refused(many, 80)) < 5000
    assert len(refused(many, 2, wanted=['a', 'b'])) < 5000


def test_names_that_are_not_unique_do_not_match():
    assert 'not classes' in refused([(1, 'CAT'), (2, 'cat'), (3, 'dog')], names=['dog', 'Cat', 'x'])
    assert 'not classes' in refused([(1, 'CAT'), (2, 'dog')], names=['dog', 'Cat', 'cat'])


def test_the_categories_that_the_user_wants():
    assert match(PETS, 4, wanted=['9', 'Cat', '-', 'dog']) == ([9, 1, None, 5], '')
    found, note = match(PETS, 2, names=['cat', 'dog'], wanted=['hot dog', '-'])
    assert found == [9, None]
    assert 'left out: cat, dog' in note


def test_a_name_comes_before_an_id():
    assert match([(1, '0'), (2, '1')], 2, wanted=['1', '0'])[0] == [2, 1]


@pytest.mark.parametrize(
    'wanted, said',
    [
        (['cat'], 'each of the 2 channels, not 1 entries'),
        (['cat', 'bird'], 'not 2 entries with bird unknown'),
        (['cat', '1'], 'none twice'),
        (['-', '-'], 'the name or id'),
    ],
)
def test_wrong_wishes(wanted, said):
    assert said in refused(PETS, 2, wanted=wanted)
