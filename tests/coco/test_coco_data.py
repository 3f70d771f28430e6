import json
import os
import pickle

import numpy as np
import pytest

from centernet.coco import CocoData
from centernet.system.errors import DataError


def fails(*args, **kwargs):
    """Return the one-line message of the DataError that loading raises."""
    with pytest.raises(DataError) as caught:
        CocoData.load(*args, **kwargs)
    message = str(caught.value)
    assert '\n' not in message
    return message


def edit(root, change, stem='instances_val2017'):
    """Change an annotations file: its dict in place, or replace it by what ``change`` returns."""
    path = root / 'annotations' / (stem + '.json')
    dataset = json.loads(path.read_text())
    changed = change(dataset)
    path.write_text(json.dumps(dataset if changed is None else changed))
    return str(root)


def test_loads_cocos_layout_quietly(make_coco, capsys):
    root = make_coco(
        [dict(image=7, category=90, bbox=(1, 2, 30, 40)), dict(image=7, category=13, iscrowd=1)],
        images=(9, 7, 8),
        categories=((90, 'toothbrush'), (1, 'person'), (13, 'stop sign')),
    )
    data = CocoData.load(str(root))
    assert data.image_ids == [9, 7, 8]  # the file's order
    assert data.categories == [(1, 'person'), (13, 'stop sign'), (90, 'toothbrush')]
    assert data.class_names == ['person', 'stop sign', 'toothbrush']
    assert data.file(7) == str(root / 'val2017' / '7.png')
    truth = data.ground_truth(7)
    assert truth.boxes.dtype == np.float32 and truth.boxes.tolist() == [[1, 2, 31, 42], [0, 0, 50, 50]]
    assert truth.classes.tolist() == [2, 1] and truth.crowd.tolist() == [False, True]
    assert capsys.readouterr() == ('', '')


def test_an_image_without_annotations_has_empty_ground_truth(make_coco):
    data = CocoData.load(str(make_coco([dict(image=1)])))
    truth = data.ground_truth(2)
    assert truth.boxes.shape == (0, 4) and truth.classes.shape == (0,) and truth.crowd.dtype == bool


@pytest.mark.parametrize(
    'stem, folder',
    [
        ('instances_val2017', 'images/val2017'),
        ('instances_val2017', 'images'),
        ('instances_train2017', 'train2017'),
        ('mine', 'images'),
        ('mine', 'mine'),
        ('mine', 'images/mine'),
    ],
)
def test_other_layouts(make_coco, stem, folder):
    root = make_coco(stem=stem, folder=folder)
    assert CocoData.load(str(root)).file(1) == os.path.join(str(root), folder, '1.png')
    by_file = CocoData.load(annotations=str(root / 'annotations' / (stem + '.json')))
    assert by_file.file(2) == os.path.join(str(root), folder, '2.png')


def test_annotations_and_images_by_name(make_coco, tmp_path):
    root = make_coco()
    (root / 'val2017').rename(tmp_path / 'elsewhere')
    (root / 'annotations' / 'captions_val2017.json').write_text('{}')  # val2017's instances file has priority
    data = CocoData.load(str(root), images=str(tmp_path / 'elsewhere'))
    assert data.file(1) == str(tmp_path / 'elsewhere' / '1.png')


def test_an_empty_folder_of_the_right_name_does_not_hide_the_images(make_coco):
    root = make_coco(folder='images/val2017')
    (root / 'val2017').mkdir()  # as a container's mount point may be
    assert CocoData.load(str(root)).images == str(root / 'images' / 'val2017')


def test_only_one_image_is_looked_up_if_it_exists(make_coco, monkeypatch):
    root = make_coco(images=tuple(range(1, 40)))
    asked = []
    is_file = os.path.isfile
    monkeypatch.setattr(os.path, 'isfile', lambda path: asked.append(path) or is_file(path))
    CocoData.load(str(root))
    assert [path for path in asked if path.endswith('.png')] == [str(root / 'val2017' / '1.png')]


def test_single_missing_images_do_not_fail_on_load(make_coco):
    root = make_coco(images=(1, 2, 3))
    for number in (1, 2):
        (root / 'val2017' / f'{number}.png').unlink()
    assert CocoData.load(str(root)).image_ids == [1, 2, 3]


def test_fills_in_defaults_and_drops_segmentations(make_coco):
    root = make_coco([dict(bbox=(0, 0, 3, 4)), dict(image=2)])

    def strip(dataset):
        for key in ('area', 'iscrowd', 'id'):
            del dataset['annotations'][0][key]

    data = CocoData.load(edit(root, strip))
    annotations = data.to_dataset()['annotations']
    assert annotations[0] == {
        'id': 1,
        'image_id': 1,
        'category_id': 1,
        'bbox': [0, 0, 3, 4],
        'area': 12,
        'iscrowd': 0,
    }
    assert not any('segmentation' in entry for entry in annotations)


def test_categories_with_the_same_name_get_their_ids(make_coco):
    data = CocoData.load(str(make_coco(categories=((5, 'tank'), (2, 'tank'), (3, 'fish')))))
    assert data.class_names == ['tank (id 2)', 'fish', 'tank (id 5)']


def test_can_be_pickled(make_coco):
    data = pickle.loads(pickle.dumps(CocoData.load(str(make_coco([dict(image=1)])))))
    assert data.image_ids == [1, 2] and data.ground_truth(1).boxes.tolist() == [[0, 0, 50, 50]]


def test_a_byte_order_mark_is_ignored(make_coco):
    root = make_coco()
    path = root / 'annotations' / 'instances_val2017.json'
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    assert CocoData.load(str(root)).image_ids == [1, 2]


def test_names_missing_folders_and_files(make_coco, tmp_path):
    assert str(tmp_path / 'nowhere') in fails(str(tmp_path / 'nowhere'))
    (tmp_path / 'empty').mkdir()
    expected = tmp_path / 'empty' / 'annotations' / 'instances_val2017.json'
    assert str(expected) in fails(str(tmp_path / 'empty'))
    assert str(tmp_path / 'a.json') in fails(annotations=str(tmp_path / 'a.json'))
    root = make_coco()
    assert str(root / 'nope') in fails(str(root), images=str(root / 'nope'))
    (root / 'val2017').rename(root / 'other')
    message = fails(str(root))
    for place in ('val2017', os.path.join('images', 'val2017'), 'images'):
        assert os.path.join(str(root), place) in message


def test_several_annotations_files_are_an_error(make_coco):
    root = make_coco(stem='instances_a')
    (root / 'annotations' / 'instances_b.json').write_text('{}')
    message = fails(str(root))
    assert '--annotations' in message and 'instances_a.json, instances_b.json' in message


def test_all_images_missing(make_coco):
    root = make_coco(images=(1, 2, 3))
    for path in (root / 'val2017').iterdir():
        path.unlink()
    message = fails(str(root))
    assert 'none of the 3 images' in message and '1.png' in message and str(root / 'val2017') in message


@pytest.mark.parametrize(
    'text, expected',
    [
        (b'{"images": [],\n "annotations": oops}', 'line 2 column 17'),
        (b'', 'line 1 column 1'),
        (b'<html>not found</html>', 'line 1 column 1'),
        (b'\xff\xfe\x00\x01', 'as JSON'),
        (b'[' * 200000, 'as JSON'),
    ],
)
def test_invalid_json(make_coco, text, expected):
    root = make_coco()
    (root / 'annotations' / 'instances_val2017.json').write_bytes(text)
    message = fails(str(root))
    assert 'instances_val2017.json' in message and expected in message


def put(key, position, name, value):
    """Return a change that sets a field of one entry, or removes it if ``value`` is ``...``."""

    def change(dataset):
        if value is ...:
            del dataset[key][position][name]
        else:
            dataset[key][position][name] = value

    return change


@pytest.mark.parametrize(
    'change, expected',
    [
        (lambda dataset: [dataset], 'it is not an object'),
        (lambda dataset: dataset.pop('images') and None, "it has no 'images'"),
        (lambda dataset: dataset.update(images={}), "'images' is not a list"),
        (lambda dataset: dataset.update(annotations=None), "'annotations' is not a list"),
        (lambda dataset: dataset.update(images=[]), "'images' is empty"),
        (lambda dataset: dataset['annotations'].insert(1, 5), 'annotations[1] is not an object'),
        (put('images', 1, 'id', ...), "images[1] has no 'id'"),
        (put('images', 1, 'id', 'two'), "images[1]: its 'id' is not an integer"),
        (put('images', 1, 'id', True), "images[1]: its 'id' is not an integer"),
        (put('images', 1, 'id', 1.5), "images[1]: its 'id' is not an integer"),
        (put('images', 1, 'id', 1e300), "images[1]: its 'id' is not an integer of at most 63 bits"),
        (put('images', 1, 'id', 1), "the id 1 is used twice in 'images': for 1.png and for 2.png"),
        (put('categories', 1, 'id', 1), "the id 1 is used twice in 'categories': for cat and for dog"),
        (put('categories', 1, 'name', None), "categories[1]: its 'name' is not text"),
        (put('annotations', 0, 'image_id', ...), "annotations[0] has no 'image_id'"),
        (
            put('annotations', 0, 'bbox', [1, 2, 3]),
            'annotations[0]: its bbox is [1, 2, 3], not [x, y, width, height]',
        ),
        (put('annotations', 0, 'bbox', [1, 2, -3, 4]), 'annotations[0]: its bbox'),
        (put('annotations', 0, 'bbox', [1, 2, 3, 'x']), 'annotations[0]: its bbox'),
        (put('annotations', 0, 'bbox', [1, 2, 3, float('nan')]), 'annotations[0]: its bbox'),
        (put('annotations', 0, 'area', 'big'), "annotations[0]: its 'area' is not a number"),
        (put('annotations', 0, 'iscrowd', 2), "annotations[0]: its 'iscrowd'"),
    ],
)
def test_invalid_instances_files_are_named(make_coco, change, expected):
    message = fails(edit(make_coco([dict(image=1)]), change))
    assert 'instances_val2017.json is not a COCO instances file: ' in message and expected in message


def test_whole_numbers_written_as_decimals(make_coco):
    root = make_coco([dict(image=2, category=3, iscrowd=1)])

    def decimal(dataset):
        for entry, keys in (
            *((entry, ['id']) for entry in dataset['images'] + dataset['categories']),
            (dataset['annotations'][0], ['image_id', 'category_id', 'iscrowd']),
        ):
            entry.update((key, float(entry[key])) for key in keys)

    data = CocoData.load(edit(root, decimal))
    (entry,) = [entry for entry in data.to_dataset()['annotations'] if entry['image_id'] == 2]
    numbers = [*data.image_ids, *(number for number, _ in data.categories)]
    numbers += [entry[key] for key in ('image_id', 'category_id', 'iscrowd')]
    assert numbers == [1, 2, 1, 3, 2, 3, 1] and {type(number) for number in numbers} == {int}
    assert data.notes == []


def test_annotations_of_what_is_not_listed_do_not_count(make_coco):
    strays = [
        dict(category=4),
        dict(category=4, image=9),
        dict(category=8),
        dict(image=7, bbox=(0, 0, 1, -1)),
    ]
    data = CocoData.load(str(make_coco([dict(image=1)] + strays + [dict(image=2)])))
    assert data.objects.ids.tolist() == data.objects.image_ids.tolist() == [1, 2]
    assert data.notes == [
        'annotations ignored: 3, whose category_id is not listed, such as 4',
        'annotations ignored: 1, whose image_id is not listed, such as 7',
    ]


@pytest.mark.parametrize(
    'change',
    [lambda dataset: dataset.pop('annotations') and None, lambda dataset: dataset.update(annotations=[])],
)
def test_no_annotations(make_coco, change):
    data = CocoData.load(edit(make_coco([dict(image=1)]), change))
    assert len(data.ground_truth(1).boxes) == 0


def test_channels_decide_which_objects_count(make_coco):
    data = CocoData.load(str(make_coco([dict(category=3), dict(category=1, iscrowd=1)])))
    other = data.with_channels([None, (3, 'dog')], ['a line'])
    assert other.class_names == ['-', 'dog'] and other.evaluated == [(3, 'dog')]
    truth = other.ground_truth(1)
    assert truth.classes.tolist() == [1] and truth.crowd.tolist() == [False]
    assert other.notes == ['a line'] and other.image_ids == data.image_ids
    # the first one is as it was
    assert data.class_names == ['cat', 'dog'] and data.notes == []
    assert data.ground_truth(1).classes.tolist() == [1, 0]


def test_boxes_of_other_formats_are_said(make_coco):
    """Corners end outside of their images, fractions within two pixels."""
    right = [dict(image=1, bbox=[100, 100, 20, 20]), dict(image=2, bbox=[5, 5, 150, 100])]
    assert CocoData.load(str(make_coco(right))).notes == []
    corners = [dict(image=1, bbox=[150, 140, 170, 160]), dict(image=2, bbox=[120, 5, 180, 100])]
    (note,) = CocoData.load(str(make_coco(corners, root='corners'))).notes
    assert '2 boxes end outside' in note and '[x, y, width, height]' in note
    fractions = [dict(image=1, bbox=[0.1, 0.2, 0.5, 0.5]), dict(image=2, bbox=[0.5, 0.5, 0.5, 0.5])]
    (note,) = CocoData.load(str(make_coco(fractions, root='fractions'))).notes
    assert 'third pixel' in note
