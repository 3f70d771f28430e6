"""What fuzzing and reading the code found in the readers of checkpoints and annotations, one by one: each
hung, crashed, took gigabytes or showed a traceback before."""

import json
import time

import pytest
from support.checkpoint_files import ONE, claim, save, text, write_legacy, write_zip

from centernet.coco import CocoData
from centernet.networks.checkpoint import load_model, read_checkpoint
from centernet.system.errors import CheckpointError, DataError

STORAGES = {'0': (4, bytes(16))}


def refused(path, said):
    start = time.process_time()
    with pytest.raises(CheckpointError, match=said) as caught:
        read_checkpoint(str(path))
    assert time.process_time() - start < 20
    assert len(str(caught.value)) < 1000


# checkpoints


@pytest.mark.slow
def test_a_pickle_of_many_megabytes(tmp_path):
    write_zip(tmp_path / 'a.pth', b'\x80\x02' + b']' * (1 << 23) + b'.', {})
    refused(tmp_path / 'a.pth', 'more than is read')
    write_zip(tmp_path / 'a.pth', b'\x80\x03B' + (1 << 26).to_bytes(4, 'little') + bytes(1 << 26) + b'.', {})
    refused(tmp_path / 'a.pth', 'more than is read')


def test_copies_of_one_list_as_dictionaries(tmp_path):
    """They took the memory of a dictionary for four bytes each."""
    pairs = b''.join(b'(M' + i.to_bytes(2, 'little') + b'Nt' for i in range(10000))
    copies = b'h\x01h\x00\x85R' * 100000
    data = b'\x80\x02]q\x00(' + pairs + b'eccollections\nOrderedDict\nq\x01(' + copies + b't.'
    write_zip(tmp_path / 'a.pth', data, {})
    refused(tmp_path / 'a.pth', 'more than is read')


def test_names_made_of_long_texts(tmp_path):
    data = b'\x80\x04' + text('x' * 20000) + b'q\x00(' + b'h\x00h\x00\x93' * 100000 + b't.'
    write_zip(tmp_path / 'a.pth', data, {})
    refused(tmp_path / 'a.pth', 'more than is read')


def test_a_number_of_a_million_decimal_digits(tmp_path):
    write_zip(tmp_path / 'a.pth', b'\x80\x02L' + b'7' * 10**6 + b'L\n.', {})
    refused(tmp_path / 'a.pth', 'too long')


@pytest.mark.parametrize(
    'before, after',
    [
        (b'}', b'Ns'),
        (b'}(', b'Nu'),
        (b'(', b'Nd'),
        (b'\x8f(', b'\x90'),
        (b'(', b'\x91'),
        (b'ccollections\nOrderedDict\n((', b'N\x86l\x85R'),
    ],
    ids=['entry', 'entries', 'dict', 'set', 'frozenset', 'OrderedDict'],
)
@pytest.mark.parametrize('depth', [100, 200000])
def test_nested_keys_neither_hang_nor_overflow_the_stack(tmp_path, before, after, depth):
    nested = b')' + (b'2\x86' if depth == 100 else b'\x85') * depth  # a hundred levels are 2 ** 100 elements
    write_legacy(tmp_path / 'a.pth', b'\x80\x04' + before + nested + after + b'.', STORAGES)
    refused(tmp_path / 'a.pth', 'damaged|not a state dict|no state dict')


def test_a_number_of_a_million_bytes(tmp_path):
    digits = b'\x8b' + (10**6).to_bytes(4, 'little') + b'\x7f' * 10**6
    tensor = b'ctorch._utils\n_rebuild_tensor_v2\n(' + digits + b'K\x00))tR'
    write_legacy(tmp_path / 'a.pth', b'\x80\x02}(' + text('w') + tensor + b'u.', STORAGES)
    refused(tmp_path / 'a.pth', 'damaged')
    write_legacy(
        tmp_path / 'a.pth',
        b'\x80\x02}(' + text('epoch') + digits + text('state_dict') + claim(ONE)[2:-1] + b'u.',
        STORAGES,
    )
    assert read_checkpoint(str(tmp_path / 'a.pth')).epoch is None


def test_an_empty_file_that_claims_16_gigabytes(tmp_path):
    """torch.load returns it, with weights_only too."""
    data = claim({'w': ('FloatStorage', '0', 1 << 32, 0, (1 << 32,), (1,))})
    write_legacy(tmp_path / 'a.pth', data, {}, keys=[])
    refused(tmp_path / 'a.pth', 'no data for storage 0')
    write_zip(tmp_path / 'a.pth', data.replace(b'NtQ', b'tQ'), {})
    refused(tmp_path / 'a.pth', 'data/0')


@pytest.mark.parametrize('form', ['zip', 'legacy'])
def test_many_tensors_of_one_storage_do_not_read_it_again_and_again(tmp_path, form):
    count = 1 << 22
    data = claim({str(i): ('FloatStorage', '0', count, 0, (1,), (1,)) for i in range(5000)})
    if form == 'zip':
        write_zip(tmp_path / 'a.pth', data.replace(b'NtQ', b'tQ'), {'0': bytes(4 * count)})
    else:
        write_legacy(tmp_path / 'a.pth', data, {'0': (count, bytes(4 * count))})
    start = time.process_time()
    assert len(read_checkpoint(str(tmp_path / 'a.pth')).state_dict) == 5000
    assert time.process_time() - start < 20  # 80 GB otherwise


def test_a_part_of_a_zip_with_two_sizes(tmp_path):
    import resource

    write_zip(tmp_path / 'a.pth', claim(ONE).replace(b'NtQ', b'tQ'), {'0': bytes(16)})
    data = (tmp_path / 'a.pth').read_bytes()
    at = data.index(
        b'PK\x01\x02', data.index(b'PK\x01\x02') + 1
    )  # the storage's entry in the directory: compressed size at 20
    (tmp_path / 'a.pth').write_bytes(data[: at + 20] + (1 << 31).to_bytes(4, 'little') + data[at + 24 :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(tmp_path / 'a.pth', 'larger than the file')
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100000  # kB


def test_heads_that_claim_more_than_the_file_has(tmp_path):
    import torch

    save(
        tmp_path / 'a.pth',
        {'hm.2.bias': torch.zeros(1 << 20), 'wh.2.weight': torch.zeros(2, 1 << 14, 1, 1)},
        'legacy',
    )
    with pytest.raises(CheckpointError, match='do not match the declared heads'):
        load_model(str(tmp_path / 'a.pth'), 'dla_tiny')


# annotations


def annotations(tmp_path, **changes):
    document = dict(
        {
            'images': [{'id': 1, 'file_name': 'a.png'}],
            'annotations': [],
            'categories': [{'id': 1, 'name': 'a'}],
        },
        **changes,
    )
    (tmp_path / 'a.json').write_text(json.dumps(document))
    (tmp_path / 'a.png').write_bytes(b'')
    return CocoData.load(annotations=str(tmp_path / 'a.json'), images=str(tmp_path))


@pytest.mark.parametrize(
    'changes, said',
    [
        ({'images': [{'id': 1, 'file_name': 'a\0b'}]}, "'file_name'"),
        ({'images': [{'id': 1, 'file_name': '\ud800'}]}, "'file_name'"),
        ({'images': [{'id': 1 << 70, 'file_name': 'a.png'}]}, 'at most 63 bits'),
        ({'annotations': [{'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 10**400, 1]}]}, 'bbox'),
    ],
    ids=['null', 'surrogate', 'id', 'bbox'],
)
def test_annotations_that_were_a_traceback(tmp_path, changes, said):
    with pytest.raises(DataError, match=said):
        annotations(tmp_path, **changes)


def test_many_categories_of_one_name(tmp_path):
    start = time.process_time()
    assert (
        len(annotations(tmp_path, categories=[{'id': i, 'name': 'same'} for i in range(30000)]).class_names)
        == 30000
    )
    assert time.process_time() - start < 20
