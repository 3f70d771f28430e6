"""What read_checkpoint refuses, as tables: each is an error of one line that names the file; none runs code
or takes memory. The fuzzer (tests/fuzz) goes on from here."""

import argparse
import os
import pickle
import random
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import PosixPath

import numpy as np
import pytest
import torch
from support.checkpoint_files import FORMS, ONE, Runs, claim, refusal, save, write, write_legacy, write_zip

from centernet.networks.checkpoint import read_checkpoint, unpickler
from centernet.system.errors import CheckpointError

STORAGES = {'0': (4, bytes(16))}
SIZES = OrderedDict([('a', torch.ones(50)), ('b', torch.zeros(9))])


@pytest.mark.parametrize(
    'content, says',
    [
        (None, 'not found'),
        (b'', "starts with b''; download"),
        (
            b'<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>',
            '<!DOCTYPE html>',
        ),
        (b'\xef\xbb\xbf\n  <HTML><body>Virus scan warning</body></HTML>', '<HTML><body>Virus'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n', 'version https://git-lfs'),
        (b'{"error": "not found"}', 'is not a checkpoint of torch.save: it starts with'),
        (b'\x80\x02}q\x00.', 'is not a checkpoint of torch.save: it starts with'),
        (b'PK\x03\x04', 'is truncated or damaged'),
        (bytes(random.Random(0).getrandbits(8) for _ in range(1000)), 'is not a checkpoint'),
    ],
)
def test_what_is_no_checkpoint(tmp_path, content, says):
    if content is not None:
        (tmp_path / 'file.pth').write_bytes(content)
    assert says in refusal(tmp_path / 'file.pth')


def test_folders_and_archives(tmp_path):
    assert 'a directory' in refusal(tmp_path)
    path = tmp_path / 'a.pth'
    with tarfile.open(str(path), 'w') as archive:
        archive.addfile(tarfile.TarInfo('pickle'))
    assert 'is not a checkpoint' in refusal(path)
    with zipfile.ZipFile(str(path), 'w') as archive:
        archive.writestr('readme.txt', 'hello')
    assert 'without data.pkl' in refusal(path)
    write_zip(path, claim(ONE), {'0': bytes(16)}, compression=zipfile.ZIP_DEFLATED)
    assert 'compressed' in refusal(path)
    write_zip(path, claim(ONE).replace(b'NtQ', b'tQ'), {'0': bytes(16)}, byteorder=b'big')
    assert 'not little-endian' in refusal(path)
    # a TorchScript program: torch.load runs it, whatever its pickle_module admits
    write_zip(path, b'\x80\x02c__torch__\nNet\n)\x81.', {}, constants__pkl=b'\x80\x02).')
    message = refusal(path)
    assert 'a __torch__.Net' in message and 'save model.state_dict()' in message


@pytest.mark.parametrize('form', FORMS)
def test_a_file_cut_off_anywhere_or_with_a_flipped_bit(tmp_path, form):
    save(tmp_path / 'whole.pth', {'epoch': 1, 'state_dict': SIZES}, form)
    whole = (tmp_path / 'whole.pth').read_bytes()
    for length in [*range(41, len(whole), 37), len(whole) - 1]:
        (tmp_path / 'cut.pth').write_bytes(whole[:length])
        assert 'truncated' in refusal(tmp_path / 'cut.pth'), length
    draw, refused = random.Random(0), 0
    for _ in range(300):
        changed = bytearray(whole)
        changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        (tmp_path / 'changed.pth').write_bytes(changed)
        try:
            read_checkpoint(tmp_path / 'changed.pth')
        except CheckpointError as error:
            assert '\n' not in str(error)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize('form', FORMS)
def test_tensors_that_claim_what_the_file_has_not(tmp_path, form):
    claims = [(count, 0, (4,), (1,)) for count in (5, 10**6, 1 << 61, -4)]
    claims += [
        (4, offset, size, stride)
        for offset, size, stride in (
            (0, (5,), (1,)),
            (1, (4,), (1,)),
            (0, (2, 2), (3, 1)),
            (4, (), ()),
            (0, (1 << 40,), (0,)),
            (0, (0, 1 << 62), (0, 0)),
            (-1, (1,), (1,)),
            (0, (-1,), (1,)),
            (0, (2,), (-1,)),
            (0, (2, 2), (1,)),
            (0, (1,) * 1000, (1,) * 1000),
        )
    ]
    for claimed in claims:
        write(
            tmp_path / 'a.pth',
            form,
            claim({'w': ('FloatStorage', '0', *claimed)}),
            {'0': (claimed[0], bytes(16))},
        )
        assert 'damaged' in refusal(tmp_path / 'a.pth'), claimed
    many = claim({str(i): ('HalfStorage', '0', 1 << 20, 0, (1 << 20,), (1,)) for i in range(1000)})
    twice = claim(dict(ONE, v=('FloatStorage', '0', 2, 0, (2,), (1,))))
    other = claim({'w': ('HalfStorage', '1', 4, 0, (4,), (1,))})
    for data, storage in ((many, (1 << 20, bytes(2 << 20))), (twice, STORAGES['0']), (other, STORAGES['0'])):
        write(tmp_path / 'a.pth', form, data, {'0': storage})
        assert 'damaged' in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'parts, says',
    [
        ({'version': 1002}, 'protocol version'),
        ({'keys': []}, 'no data for storage 0'),
        ({'keys': [('0',)]}, 'damaged'),
        ({'storages': {'0': (3, bytes(16))}}, 'storage 0 has 3 elements, not 4'),
    ],
)
def test_legacy_parts_that_are_not_what_they_should_be(tmp_path, parts, says):
    write_legacy(tmp_path / 'a.pth', claim(ONE), parts.pop('storages', STORAGES), **parts)
    assert says in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize('form', FORMS)
def test_pickles_that_would_run_code_are_refused_by_name_and_not_run(tmp_path, form):
    made = str(tmp_path / 'made')
    bomb, good = Runs(os.mkdir, made), {'w': torch.ones(2)}
    for saved in (
        bomb,
        {'epoch': 1, 'state_dict': bomb},
        {'state_dict': dict(good, b=bomb)},
        {'state_dict': good, 'optimizer': bomb},
        {'state_dict': good, 'more': [(bomb,)]},
        {'state_dict': good, 'opt': argparse.Namespace(hook=bomb)},
        {'state_dict': good, 'history': np.array([bomb])},
        {'state_dict': good, 'path': Runs(PosixPath, bomb)},
    ):
        save(tmp_path / 'bomb.pth', saved, form)
        message = refusal(tmp_path / 'bomb.pth')
        assert f'refers to the Python object {os.mkdir.__module__}.mkdir;' in message
        assert 'no code was run' in message and 'save model.state_dict()' in message
        assert not os.path.exists(made)
    pickle.loads(pickle.dumps(bomb))
    assert os.path.exists(made), 'the bomb is one'


def test_code_elsewhere_in_a_file(tmp_path):
    bomb, name = Runs(os.mkdir, str(tmp_path / 'made')), f'{os.mkdir.__module__}.mkdir'
    for protocol in range(5):
        (tmp_path / 'bomb.pth').write_bytes(pickle.dumps(bomb, protocol))
        assert 'is not a checkpoint of torch.save' in refusal(tmp_path / 'bomb.pth')
    for part in ('version', 'system', 'keys'):
        write_legacy(tmp_path / 'bomb.pth', claim(ONE), STORAGES, **{part: bomb})
        assert name in refusal(tmp_path / 'bomb.pth')
    assert not os.path.exists(str(tmp_path / 'made'))


@pytest.mark.parametrize(
    'opcodes, name',
    [
        (b'cbuiltins\neval\n)R.', 'builtins.eval'),
        (b'cbuiltins\ngetattr\n)R.', 'builtins.getattr'),
        (b'ctorch\nload\n)R.', 'torch.load'),
        (b'ctorch.storage\n_load_from_bytes\n)R.', 'torch.storage._load_from_bytes'),
        (b'cnumpy.core.multiarray\nfrombuffer\n)R.', 'numpy.core.multiarray.frombuffer'),
        (b'ctorch\nTensor\n)R.', 'torch.Tensor'),
        (b'ctorch.nn.modules.conv\nConv2d\n)R.', 'torch.nn.modules.conv.Conv2d'),
        (b'ccenternet.system.files\nsha256\n)R.', 'centernet.system.files.sha256'),
        (b'ctorch._utils\ntorch.load\n)R.', 'torch._utils.torch.load'),
        (b'(cos\nsystem\nX\x04\x00\x00\x00trueo.', 'os.system'),
        (b'(ios\nsystem\n.', 'os.system'),
        (b'\x8c\x02os\x8c\x06system\x93)R.', 'os.system'),
        (b'cbuiltins\ngetattr\ncos\npath\n\x8c\x06system\x86R)R.', 'os.path.system'),
        (b'cos\nsystem\n)\x81)R.', 'os.system'),
        (b'ccopyreg\n__newobj__\ncos\nsystem\n\x85R.', 'copyreg.__newobj__'),
    ],
)
def test_calls_of_other_names_are_refused(tmp_path, opcodes, name):
    for form in FORMS:
        write(tmp_path / 'a.pth', form, b'\x80\x04' + opcodes, {})
        assert f'refers to the Python object {name};' in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'opcodes, says',
    [
        (b'\x82\x01.', 'damaged'),
        (b'Pkey\n.', 'damaged'),
        (b'\x80\x06N.', 'unknown protocol'),
        (b'\x80\x05\x97.', 'damaged'),
        (b'\x96\xff\xff\xff\xff\xff\xff\xff\x7f.', 'damaged'),
        (b'N)R.', 'damaged'),
        (b'N)\x81.', 'damaged'),
        (b'ccopyreg\n_reconstructor\n)R.', 'damaged'),
        (b'L' + b'7' * 20000 + b'\n.', 'damaged'),
        (b'}r\xff\xff\xff\x7f.', 'no state dict'),  # the C unpickler answers with an array of 32 GiB
    ],
)
def test_opcodes_that_no_checkpoint_has(tmp_path, opcodes, says):
    for form in FORMS:
        write(tmp_path / 'a.pth', form, b'\x80\x02' + opcodes, {})
        assert says in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize('form', FORMS)
def test_more_beside_the_weights_than_is_read(tmp_path, form, monkeypatch):
    monkeypatch.setattr(unpickler.Pickles, '_left', 1 << 14)
    save(tmp_path / 'a.pth', {'state_dict': {'w': torch.ones(2)}, 'log': [0.5] * 1000}, form)
    message = refusal(tmp_path / 'a.pth')
    assert 'more than is read beside the weights' in message and 'damaged' not in message
    assert 'save model.state_dict() instead' in message


@pytest.mark.parametrize(
    'saved, says',
    [
        (torch.ones(3), 'holds a tensor'),
        ([torch.ones(3)], 'holds a list'),
        (argparse.Namespace(w=torch.ones(1)), 'argparse.Namespace: save model.state_dict'),
        ({}, 'entries: none'),
        ({'epoch': 3, 'net': {'w': 1.0}}, 'entries: epoch (int), net'),
        ({'epoch': 3, 'optimizer': {'w': torch.ones(2, 2)}}, 'entries: epoch (int), optimizer'),
        ({'a\nb\x1b[31m': 3}, 'entries: a b[31m'),
        ({'state_dict': {}}, 'entries: state_dict'),
        ({'state_dict': {3: torch.ones(1)}}, 'entries: state_dict'),
        ({'module.w': torch.ones(1), 'w': torch.ones(1)}, "'w' twice"),
        ({'module.model.w': torch.ones(1), 'model.w': torch.ones(1)}, "'w' twice"),
    ],
)
def test_what_is_no_state_dict(tmp_path, saved, says):
    save(tmp_path / 'a.pth', saved, 'legacy')
    assert says in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('entry', [None, 'model'])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_network_is_refused_with_advice(tmp_path, form, entry):
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    save(tmp_path / 'model.pth', network if entry is None else {'epoch': 3, entry: network}, form)
    message = refusal(tmp_path / 'model.pth')
    assert 'torch.nn.modules.container.Sequential' in message and 'save model.state_dict()' in message
    assert entry is None or entry in message


def test_the_state_of_an_object_cannot_hide_its_methods(tmp_path):
    data = (
        b'\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00w'
        + claim(ONE)[claim(ONE).index(b'ctorch._utils') : -2]
        + b'u}X\x05\x00\x00\x00itemsX\x01\x00\x00\x00!sb.'
    )
    write(tmp_path / 'a.pth', 'legacy', data, STORAGES)
    assert list(read_checkpoint(tmp_path / 'a.pth').state_dict) == ['w']
