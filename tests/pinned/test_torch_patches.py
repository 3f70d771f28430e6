"""torch 1.0.0 with and without its patches: the failures that they fix, and what must not change."""

import json
import os
import subprocess
import sys

import pytest
from support.torch_files import FILES, SITE, checksums, needs_patch, needs_torch_100, restore_original

from centernet.system.files import sha256

OBSERVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'observe.py')
INTS = {'ints', '_iter_tensors of int', '_iter_tensors of int in a list'}
RESHAPES = {'reshape', 'reshape by size', 'reshape to rows', 'reshape_as', 'symbolics'}

pytestmark = [needs_torch_100, needs_patch]


def observe(*modules):
    """Return the output of observe.py, with modules loaded from these (module, file)."""
    done = subprocess.run(
        [sys.executable, OBSERVE] + ['{}={}'.format(*module) for module in modules],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope='module')
def with_patches():
    return observe()


@pytest.fixture(scope='module')
def without(tmp_path_factory):
    """module -> the output with this module unpatched."""
    folder = restore_original(tmp_path_factory.mktemp('original'))
    return {module: observe((module, os.path.join(folder, path))) for module, path in FILES.items()}


def changed(one, other):
    return {name for name in one if one[name] != other[name]} - {'files'}


def test_the_torch_of_this_environment_is_patched():
    assert {path: sha256(os.path.join(SITE, path)) for path in FILES.values()} == checksums('patched.sha256')


def test_the_intended_files_are_compared(with_patches, without):
    assert with_patches['files'] == [os.path.join(SITE, path) for path in FILES.values()]
    function, symbolic = with_patches['files']
    assert without['torch.autograd.function']['files'][0] != function
    assert without['torch.autograd.function']['files'][1] == symbolic
    assert without['torch.onnx.symbolic']['files'][0] == function
    assert without['torch.onnx.symbolic']['files'][1] != symbolic


def test_a_traced_module_with_integers(with_patches, without):
    assert without['torch.autograd.function']['ints'].startswith(
        "ValueError: Auto nesting doesn't know how to process an input object of type int"
    )
    found, known = with_patches['ints'], with_patches['no ints']
    assert sorted(found['operators']) == sorted(known['operators'])  # the integers leave no nodes
    assert found['difference'] < 1e-5


@pytest.mark.parametrize(
    'case, last',
    [
        ('reshape', 'Reshape'),
        ('reshape by size', 'Reshape'),
        ('reshape to rows', 'Flatten'),
        ('reshape_as', 'Reshape'),
    ],
)
def test_a_traced_reshape(with_patches, without, case, last):
    assert f"Couldn't export operator aten::{case.split()[0]}" in without['torch.onnx.symbolic'][case]
    assert with_patches[case]['operators'][-1] == last
    assert with_patches[case]['difference'] < 1e-5


@pytest.mark.parametrize('case', ['reshape by size', 'reshape to rows'])
def test_reshape_is_exported_as_view_is(with_patches, case):
    assert with_patches[case] == with_patches[case.replace('reshape', 'view')]


def test_nothing_else_changes(with_patches, without):
    assert changed(without['torch.autograd.function'], with_patches) == INTS
    assert changed(without['torch.onnx.symbolic'], with_patches) == RESHAPES
    assert set(with_patches['symbolics']) - set(without['torch.onnx.symbolic']['symbolics']) == {
        'reshape',
        'reshape_as',
    }


def test_a_boolean_is_not_an_integer(with_patches):
    for case in ('bools', '_iter_tensors of bool', '_iter_tensors of bool in a list'):
        assert with_patches[case].startswith(
            "ValueError: Auto nesting doesn't know how to process an input object of type bool"
        )


def test_what_torch_accepts_is_accepted_as_before(with_patches):
    # the comparison above would not notice if both were broken
    assert with_patches['_iter_tensors of None'] == '[]'
    assert with_patches['_iter_tensors of nested lists'] == '[tensor([1.]), tensor([1.])]'
    assert with_patches['_iter_None_tensors of nested lists'] == '[tensor([1.]), None, tensor([1.])]'
    assert with_patches['_iter_tensors of int in a list'] == '[tensor([1.]), tensor(3)]'
    assert with_patches['_iter_tensors_permissive of int'] == '[3]'
    for case in ('None', 'nested lists', 'tensors', 'view', 'cat'):
        assert with_patches[case]['difference'] < 1e-5
