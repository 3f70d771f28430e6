"""Every claim that eval-outputs makes about a difference, by a device that has the mistake.

Mistakes of the input are made on the device's side of the input, from the pixels of the pictures; mistakes
inside the network are made in the ONNX graph, not in the network that the references are computed with.
"""

import os

import numpy as np
import pytest
from offline import stand_in

from centernet.detection import MEAN, STD
from centernet.offline.explain import explain
from centernet.offline.manifest import read_manifest
from centernet.offline.reference import read_references
from centernet.onnxfile import graph
from centernet.onnxfile.graph import Node

MEANS, STDS = (part.reshape(1, 3, 1, 1) for part in (MEAN, STD))


def pixels(images):
    """The pixels of normalised images, whole numbers from 0 to 255."""
    return np.round((images * STDS + MEANS) * 255)


def normalised(values):
    return (values / 255 - MEANS) / STDS


FEEDS = [
    (
        'rgb',
        lambda images: normalised(pixels(images)[:, ::-1]),
        'as if channels were RGB: red and blue of the pictures',
    ),
    (
        'rgb_after',
        lambda images: images[:, ::-1],
        'as if channels were RGB: red and blue of the normalised input',
    ),
    (
        'rgb_numbers',
        lambda images: (pixels(images) / 255 - MEANS[:, ::-1]) / STDS[:, ::-1],
        'as if mean and standard deviation were in the order of RGB',
    ),
    ('twice', lambda images: (images - MEANS) / STDS, 'as if normalised twice'),
    ('twice_scaled', normalised, 'as if normalised twice: the normalised input was divided by 255'),
    ('unit', lambda images: pixels(images) / 255, 'as if not normalised: pixels divided by 255'),
    ('pixels', pixels, 'as if not normalised: pixels from 0 to 255'),
    (
        'nhwc',
        lambda images: images.reshape(len(images), *images.shape[2:], 3).transpose(0, 3, 1, 2),
        'as if the input were read as [N, H, W, C]',
    ),
]


@pytest.fixture
def outcome(dumped, device, judge, tmp_path):
    """A function: what the device does -> (status, mistakes, remarks, JSON)."""

    def run(*words, layout='ais', **options):
        folder = dumped('--layout', layout)
        write = stand_in.ais_bench if layout == 'ais' else stand_in.trtexec
        out = write(device(**options), os.path.join(folder, 'inputs'), str(tmp_path / 'out'))
        status, found, err = judge(out, folder, '--no-metrics', *words)
        assert found is not None, err
        explanation = found['comparison']['explanation']
        for words in explanation['mistakes']:
            assert f'difference: {words}' in err
        return status, explanation['mistakes'], explanation['remarks'], found

    return run


@pytest.mark.parametrize('feed, said', [case[1:] for case in FEEDS], ids=[case[0] for case in FEEDS])
def test_a_wrong_input_is_named(outcome, feed, said):
    status, mistakes, remarks, found = outcome(feed=feed)
    assert status == 1
    assert len(mistakes) == 1 and mistakes[0].startswith(said)
    assert remarks == []
    assert not found['comparison']['same'] and 'heads' in found['comparison']['failures']


def test_a_wrong_input_is_named_in_float16_too(outcome):
    _, mistakes, remarks, _ = outcome(feed=FEEDS[0][1], dtype='float16')
    assert len(mistakes) == 1 and mistakes[0].startswith('as if channels were RGB') and remarks == []


# inside the network


def offsets(model):
    """The convolutions that predict offsets and masks, in the graph of the portable file: 27 channels."""
    found = [
        node
        for node in model.nodes
        if node.op_type == 'Conv' and len(model.initializers[node.inputs[1]]) == 27
    ]
    assert len(found) == 16
    return found


def gather_offsets(model, order):
    """Let every deformable convolution read its 18 offsets in another order."""
    for node in offsets(model):
        taken = model.fresh('taken')
        chosen = model.constant('order', np.array([*order, *range(18, 27)]))
        read = Node('Gather', [node.outputs[0], chosen], [taken], {'axis': 1}, taken)
        for user in model.nodes:
            user.inputs = [taken if name == node.outputs[0] else name for name in user.inputs]
        read.inputs[0] = node.outputs[0]
        model.nodes.insert(model.nodes.index(node) + 1, read)


def exchange_x_and_y(model):
    gather_offsets(model, [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14, 17, 16])


def read_as_blocks(model):
    gather_offsets(model, [0, 9, 1, 10, 2, 11, 3, 12, 4, 13, 5, 14, 6, 15, 7, 16, 8, 17])


def without_offsets(model):
    for node in offsets(model):
        for name in node.inputs[1:]:
            model.initializers[name] = np.concatenate(
                [np.zeros_like(model.initializers[name][:18]), model.initializers[name][18:]]
            )


def without_masks(model):
    for name in [node.outputs[0] for node in model.nodes if node.op_type == 'Sigmoid']:
        one, product, mask = model.constant('one', np.float32(1)), model.fresh('product'), model.fresh('mask')
        zero = model.constant('zero', np.float32(0))
        place = next(place for place, node in enumerate(model.nodes) if node.outputs[0] == name)
        for user in model.nodes:
            user.inputs = [mask if given == name else given for given in user.inputs]
        model.nodes.insert(place + 1, Node('Mul', [name, zero], [product], {}, product))
        model.nodes.insert(place + 2, Node('Add', [product, one], [mask], {}, mask))


def ordinary(model):
    without_offsets(model)
    without_masks(model)


NETWORKS = [
    (exchange_x_and_y, 'as if offsets x and y were exchanged in the deformable convolutions'),
    (read_as_blocks, 'as if the offsets of the deformable convolutions were read as all y, then all x'),
    (without_offsets, 'as if the offsets of the deformable convolutions were 0'),
    (without_masks, 'as if the deformable convolutions had no masks'),
    (ordinary, 'as if the deformable convolutions were ordinary ones, without offsets and masks'),
]


@pytest.fixture
def changed(model, tmp_path):
    """A function: change of a graph -> path of the changed file."""

    def change_file(change):
        found = graph.load(model)
        change(found)
        found.save(str(tmp_path / 'changed.onnx'))
        return str(tmp_path / 'changed.onnx')

    return change_file


@pytest.mark.parametrize('change, said', NETWORKS, ids=[case[0].__name__ for case in NETWORKS])
def test_a_mistake_in_the_deformable_convolutions_is_named(outcome, changed, change, said):
    status, mistakes, remarks, _ = outcome(model=changed(change))
    assert (status, mistakes, remarks) == (1, [said], [])


def round_weights(model):
    for name, array in model.initializers.items():
        if array.dtype == np.float32 and array.ndim == 4:
            model.initializers[name] = array.astype(np.float16).astype(np.float32)


def use_weights_of_another_epoch(model):
    random = np.random.RandomState(0)
    for name, array in model.initializers.items():
        if array.ndim == 4:
            changed = array * (1 + 0.01 * random.standard_normal(array.shape))
            model.initializers[name] = changed.astype(np.float32)


def test_float16_is_named_and_allowed_unless_float32_is_wanted(outcome, changed):
    path = changed(round_weights)
    status, mistakes, remarks, found = outcome(model=path, dtype='float16')
    assert (status, mistakes, remarks) == (0, [], ['the outputs differ as float16 would'])
    assert found['comparison']['explanation']['precision'] == 'float16'


def test_float16_where_float32_is_wanted(outcome, changed):
    status, mistakes, _, found = outcome('--precision', 'float32', model=changed(round_weights))
    assert (status, mistakes) == (1, [])
    assert 'heads' in found['comparison']['failures']


def test_other_weights_are_not_explained_away(outcome, changed):
    status, mistakes, remarks, _ = outcome(model=changed(use_weights_of_another_epoch))
    assert (status, mistakes) == (1, [])
    assert (
        len(remarks) == 1 and 'weights of another epoch' in remarks[0] and 'times what float16' in remarks[0]
    )


def test_one_of_sixteen_convolutions_is_seen_but_not_named(outcome, changed):
    def one(model):
        everything = list(model.nodes)
        exchange_x_and_y(model)
        gathers = [node for node in model.nodes if all(node is not other for other in everything)]
        for node in gathers[1:]:
            model.nodes.remove(node)
            model.replace_value(node.outputs[0], node.inputs[0])

    status, mistakes, remarks, _ = outcome(model=changed(one))
    assert (status, mistakes) == (1, [])
    assert len(remarks) == 1 and remarks[0].startswith(
        'no mistake that is known here explains the difference'
    )


# behind the network


def exchange_heads(found, _):
    return dict(found, wh=found['reg'], reg=found['wh'])


def turn(found, _):
    return {name: array.swapaxes(2, 3) for name, array in found.items()}


def logistic(values):
    return (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)


def test_named_outputs_that_are_exchanged(outcome):
    status, mistakes, _, _ = outcome(layout='trtexec', change=exchange_heads)
    assert (status, mistakes) == (1, ['wh and reg exchanged'])


def test_an_order_that_is_wrong(outcome):
    status, mistakes, _, found = outcome('--order', 'hm,reg,wh')
    assert (status, mistakes) == (1, ['wh and reg exchanged'])
    assert found['metrics']['AP'] < 0.05


def test_numbered_outputs_in_any_order_are_no_mistake(outcome):
    status, mistakes, _, found = outcome(outputs=('reg', 'hm', 'wh'))
    assert (status, mistakes) == (0, [])
    assert found['network']['order'] == {'0': 'reg', '1': 'hm', '2': 'wh'}


@pytest.mark.parametrize(
    'head, said', [('wh', 'width and height exchanged in wh'), ('reg', 'x and y exchanged in reg')]
)
def test_planes_that_are_exchanged(outcome, head, said):
    status, mistakes, _, _ = outcome(change=lambda found, _: dict(found, **{head: found[head][:, ::-1]}))
    assert (status, mistakes) == (1, [said])


def test_rows_and_columns_that_are_exchanged(outcome):
    status, mistakes, _, _ = outcome(change=turn)
    assert (status, mistakes) == (1, ['rows and columns of the outputs exchanged'])


def test_a_sigmoid_is_said_and_taken_into_account(outcome, expected):
    status, mistakes, remarks, found = outcome(change=lambda found, _: dict(found, hm=logistic(found['hm'])))
    assert (status, mistakes, remarks) == (0, [], ['hm has been through a sigmoid'])
    assert found['metrics']['AP'] == pytest.approx(expected['AP'], abs=1e-3)


def test_two_sigmoids(outcome):
    status, mistakes, _, _ = outcome(change=lambda found, _: dict(found, hm=logistic(logistic(found['hm']))))
    assert (status, mistakes) == (1, ['hm has been through a sigmoid twice'])


def test_two_mistakes_are_said_in_the_order_of_the_data(outcome):
    status, mistakes, _, _ = outcome(layout='trtexec', feed=FEEDS[0][1], change=exchange_heads)
    assert status == 1
    assert len(mistakes) == 2
    assert mistakes[0].startswith('as if channels were RGB') and mistakes[1] == 'wh and reg exchanged'


# images under another's name


def repeat_the_first(found, _):
    return {name: array[[0] * len(array)] for name, array in found.items()}


def repeat_in_the_second_place(found, _):
    return {name: array[[0, 0, 2, 3]] for name, array in found.items()}


def exchange_two(found, _):
    return {name: array[[0, 2, 1, 3]] for name, array in found.items()}


@pytest.mark.parametrize(
    'batch, change, said',
    [
        (2, repeat_the_first, ['image 2 of each batch repeats image 1']),
        (4, repeat_in_the_second_place, ['image 2 of each batch of 4 repeats image 1']),
        (
            4,
            repeat_the_first,
            [f'image {place} of each batch of 4 repeats image 1' for place in (2, 3, 4)],
        ),
        (4, exchange_two, ['images 2 and 3 of each batch of 4 are exchanged']),
    ],
)
def test_a_batch_with_images_in_wrong_places(outcome, batch, change, said):
    status, mistakes, _, found = outcome(batch=batch, change=change)
    assert (status, mistakes) == (1, said)
    assert bool(found['comparison']['repeated']) is (change is not exchange_two)


def test_every_image_has_the_outputs_of_the_one_before(outcome):
    last = {}

    def late(found, number):
        before = last.get('found', found)
        last['found'] = found
        return before

    status, mistakes, _, _ = outcome(change=late)
    assert (status, mistakes) == (1, ['every image has the outputs of the image before it'])


def test_two_files_under_each_others_names(dumped, device, judge, tmp_path):
    folder = dumped('--layout', 'ais')
    out = stand_in.ais_bench(device(), os.path.join(folder, 'inputs'), str(tmp_path / 'out'), summary=False)
    first, second = (read_manifest(folder).files[place].stem for place in (1, 4))
    for number in range(3):
        paths = [os.path.join(out, 'run', f'{stem}_{number}.bin') for stem in (first, second)]
        os.rename(paths[0], str(tmp_path / 'aside'))
        os.rename(paths[1], paths[0])
        os.rename(str(tmp_path / 'aside'), paths[1])
    status, _, err = judge(out, folder, '--no-metrics')
    assert status == 1
    assert 'difference: reference images 2 and 5 are exchanged' in err


def test_a_network_that_overflows_in_float16(dumped):
    references = read_references(read_manifest(dumped('--layout', 'ais')))
    plain = references.outputs['plain']
    device = {number: {name: array[number] for name, array in plain.items()} for number in range(2)}
    infinite = {name: np.full_like(array[:2], np.inf) for name, array in plain.items()}
    overflowing = references._replace(outputs=dict(references.outputs, float16=infinite, ordinary=infinite))
    found = explain(device, overflowing)
    assert (found.precision, found.remarks) == ('float32', ['this network overflows in float16'])
    device = {
        number: {name: array + 0.3 for name, array in heads.items()} for number, heads in device.items()
    }
    found = explain(device, overflowing)
    assert found.precision is None and found.mistakes == [] and len(found.remarks) == 2
