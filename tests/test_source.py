"""The source as text: Python 3.6 throughout, imports that point one way, and nothing in the repository that
ties it to a place."""

import ast
import glob
import importlib.util
import os
import re
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = os.path.join(ROOT, 'src', 'centernet')
PYTHON_FILES = sorted(
    path
    for folder in ('src', 'tests', 'benchmarks', 'tools')
    for path in glob.glob(os.path.join(ROOT, folder, '**', '*.py'), recursive=True)
)

MIB = 1 << 20
LARGE_FILES = {'src/centernet/sample/dla_tiny.pth': 3 * MIB}

# Written in halves, so that this file does not name them itself.
REGISTRY_HOSTS = re.compile(
    '|'.join(
        re.escape(first + second)
        for first, second in (
            ('pypi', '.org'),
            ('pythonhosted', '.org'),
            ('npmjs', '.org'),
            ('npmjs', '.com'),
            ('deb.debian', '.org'),
            ('proxy.golang', '.org'),
            ('crates', '.io'),
        )
    )
)
UNFINISHED = re.compile(r'\b(TO' + r'DO|FIX' + r'ME|XX' + r'X|HA' + r'CK)\b')


def name_of(path):
    return os.path.relpath(path, ROOT).replace(os.sep, '/')


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


# Python 3.6


def newer_forms(tree):
    """What the newer interpreters' parser and vermin let through: ``int | None`` (3.10) and unpacking without
    parentheses (3.8, 3.9)."""
    for node in ast.walk(tree):
        for annotation in (getattr(node, 'annotation', None), getattr(node, 'returns', None)):
            if isinstance(annotation, ast.BinOp):
                yield f'a union type (line {node.lineno})'
        value = (
            node.iter
            if isinstance(node, ast.For)
            else node.value
            if isinstance(node, (ast.Return, ast.Yield))
            else None
        )
        if isinstance(value, ast.Tuple) and any(isinstance(item, ast.Starred) for item in value.elts):
            first = value.elts[0]
            if (value.lineno, value.col_offset) == (first.lineno, first.col_offset):
                yield f'unpacking without parentheses (line {node.lineno})'


def syntax_errors(path):
    """What Python 3.6 cannot parse in a file, as far as the running interpreter can tell: 3.6 itself knows
    all, 3.9 least."""
    text = read(path)
    if sys.version_info < (3, 8):
        try:
            compile(text, path, 'exec')
        except SyntaxError as error:
            return [str(error)]
        return []
    try:
        tree = ast.parse(text, path, feature_version=(3, 6))  # novm
    except SyntaxError as error:
        return [str(error)]
    return list(newer_forms(tree))


def library_errors(paths):
    """What files use of the language and the standard library that is newer than 3.6, as vermin reports it;
    '' for nothing."""
    if sys.version_info < (3, 9):
        return ''  # running the tests shows it
    command = [
        sys.executable,
        '-c',
        'from vermin import main; main()',
        '--target=3.6-',
        '--violations',
        '--no-tips',
        '--eval-annotations',
    ]
    run = subprocess.run(
        command + list(paths), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )
    assert run.returncode in (0, 1), run.stdout
    return run.stdout if run.returncode else ''


newer_python = pytest.mark.skipif(
    sys.version_info < (3, 9), reason='on Python 3.6, importing and running the code shows it'
)


def test_files_parse_on_python_36():
    assert len(PYTHON_FILES) > 10
    assert {
        name_of(path): errors for path in PYTHON_FILES for errors in [syntax_errors(path)] if errors
    } == {}


@newer_python
def test_files_use_what_python_36_has():
    assert library_errors(PYTHON_FILES) == ''


@pytest.mark.parametrize(
    'text',
    [
        'if (n := 1):\n    pass\n',
        'def f(a, /, b):\n    pass\n',
        'x = 1\ny = f"{x=}"\n',
        'with (open("a") as a, open("b") as b):\n    pass\n',
        'match 1:\n    case 1:\n        pass\n',
        'try:\n    pass\nexcept* ValueError:\n    pass\n',
        'def f(*a):\n    return 1, *a\n',
        'def f(*a):\n    yield *a, 1\n',
        'a = []\nfor x in *a, *a:\n    pass\n',
        pytest.param('x: int | None = None\n', marks=newer_python),
        pytest.param('def f() -> int | None:\n    pass\n', marks=newer_python),
    ],
)
def test_newer_syntax_is_found(tmp_path, text):
    path = tmp_path / 'newer.py'
    path.write_text(text)
    assert syntax_errors(str(path)) or library_errors([str(path)])


@newer_python
@pytest.mark.parametrize(
    'text',
    [
        'from __future__ import annotations\n',
        'import dataclasses\n',
        'from dataclasses import dataclass\n',
        'import subprocess\nsubprocess.run(["true"], capture_output=True)\n',
        'from contextlib import nullcontext\n',
        'import math\nmath.prod([1])\n',
        'from functools import cached_property\n',
        'import time\ntime.perf_counter_ns()\n',
        '"name.py".removesuffix(".py")\n',
        'x: list[int] = []\n',
        'from typing import Protocol\n',
    ],
)
def test_newer_library_use_is_found(tmp_path, text):
    path = tmp_path / 'newer.py'
    path.write_text(text)
    assert library_errors([str(path)])


def test_python_36_is_let_through(tmp_path):
    path = tmp_path / 'fine.py'
    path.write_text(
        'from typing import NamedTuple, Optional\n\n\nclass Box(NamedTuple):\n    left: float = 1_000.0\n\n\n'
        'def show(box: Optional[Box], *rest):\n    return (f"{box!r:>9}", *rest)\n'
    )
    assert syntax_errors(str(path)) == []
    assert library_errors([str(path)]) == ''


# Imports


def module_of(path):
    name = os.path.relpath(path, os.path.dirname(PACKAGE))[: -len('.py')].replace(os.sep, '.')
    return name[: -len('.__init__')] if name.endswith('.__init__') else name


def imported_modules(text, name, is_package, known):
    """The modules that the module ``name`` imports anywhere, in functions and for type hints, too."""
    parts = name.split('.') if is_package else name.split('.')[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + 1] if node.level else []
            base = '.'.join(base + ([node.module] if node.module else []))
            targets = [f'{base}.{alias.name}' for alias in node.names]
        else:
            continue
        for target in targets:
            while target and target not in known:
                target = target.rpartition('.')[0]
            if target and target != name:
                yield target


def circles(arrows):
    """The circles of a graph, name -> names, as far as they are needed to show that there are some."""
    found, done = [], set()

    def visit(name, path):
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in sorted(arrows[name]):
                visit(other, [*path, name])
            done.add(name)

    for name in sorted(arrows):
        visit(name, [])
    return found


def arrows_between_modules():
    paths = {module_of(path): path for path in PYTHON_FILES if path.startswith(PACKAGE + os.sep)}
    return {
        name: set(imported_modules(read(path), name, path.endswith('__init__.py'), paths))
        for name, path in paths.items()
    }


def room_of(name):
    return '.'.join(name.split('.')[:2])


def test_imports_between_modules_go_one_way():
    arrows = arrows_between_modules()
    assert len(arrows) > 50
    assert circles(arrows) == []


def test_imports_between_rooms_go_one_way():
    rooms = {}
    for name, others in arrows_between_modules().items():
        rooms.setdefault(room_of(name), set()).update(map(room_of, others))
    for name, others in rooms.items():
        others.discard(name)
    assert circles(rooms) == []


@pytest.mark.parametrize(
    'text, name, found',
    [
        ('from ..cli import main', 'c.runs.loop', ['c.cli']),
        ('from c import cli', 'c.coco.data', ['c.cli']),
        ('import c.runs.loop', 'c.cli', ['c.runs.loop']),
        ('def f():\n    from ..coco import Data', 'c.runs.loop', ['c.coco']),
        ('if TYPE_CHECKING:\n    from .data import Data', 'c.coco', ['c.coco.data']),
        ('from . import other', 'c.runs.loop', ['c.runs']),
    ],
)
def test_arrows_are_found(text, name, found):
    known = {'c', 'c.cli', 'c.runs', 'c.runs.loop', 'c.coco', 'c.coco.data'}
    assert list(imported_modules(text, name, name == 'c.coco', known)) == found


def test_circles_are_found():
    assert circles({'a': {'b'}, 'b': {'c'}, 'c': set()}) == []
    assert circles({'a': {'b'}, 'b': {'c'}, 'c': {'a'}}) == [['a', 'b', 'c', 'a']]


# Type hints


def test_benchmarks_and_tools_import_what_there_is():
    lost = [
        f'{name_of(path)}: {node.module}.{each.name}'
        for path in PYTHON_FILES
        if name_of(path).startswith(('benchmarks', 'tools'))
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'centernet'
        for each in node.names
        if not hasattr(importlib.import_module(node.module), each.name)
        and importlib.util.find_spec(f'{node.module}.{each.name}') is None
    ]
    assert not lost


def without_hints(text):
    """The public functions and methods of a module that have a parameter or a result without a type hint."""
    bodies = [(ast.parse(text).body, False)]
    for body, is_class in bodies:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
                bodies.append((node.body, True))
            elif isinstance(node, ast.FunctionDef):
                if node.name.startswith('_') and node.name not in ('__init__', '__call__'):
                    continue
                given = node.args
                parameters = given.args + given.kwonlyargs + [given.vararg, given.kwarg]
                is_method = is_class and not any(
                    isinstance(item, ast.Name) and item.id == 'staticmethod' for item in node.decorator_list
                )
                unhinted = [item for item in parameters[is_method:] if item and item.annotation is None]
                if unhinted or node.returns is None:
                    yield node.name


def test_public_functions_have_type_hints():
    found = {name_of(path): list(without_hints(read(path))) for path in PYTHON_FILES if '/src/' in path}
    assert {name: functions for name, functions in found.items() if functions} == {}


@pytest.mark.parametrize(
    'text, found',
    [
        ('def f(a: int) -> int:\n    pass', []),
        ('def f(a) -> int:\n    pass', ['f']),
        ('def f(a: int, *rest, b: int) -> int:\n    pass', ['f']),
        ('def f(a: int):\n    pass', ['f']),
        ('def _f(a):\n    pass', []),
        (
            'class C:\n    def f(self) -> int:\n        pass\n\n    def g(self, a) -> int:\n        pass',
            ['g'],
        ),
    ],
)
def test_missing_hints_are_found(text, found):
    assert list(without_hints(text)) == found


# The repository


@pytest.fixture(scope='module')
def tracked_files():
    try:
        run = subprocess.run(
            ['git', 'ls-files', '-z'], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError:
        pytest.skip('git is not installed, and tells which files belong to the repository')
    if run.returncode:
        pytest.skip('not a git checkout: {}'.format(run.stderr.decode(errors='replace').strip()))
    names = [
        name for name in run.stdout.decode().split('\0') if name and os.path.isfile(os.path.join(ROOT, name))
    ]
    assert len(names) > 10
    return names


def test_large_files_are_only_those_agreed_on(tracked_files):
    sizes = {name: os.path.getsize(os.path.join(ROOT, name)) for name in tracked_files}
    assert {name: size for name, size in sizes.items() if size > LARGE_FILES.get(name, MIB)} == {}


def test_texts_name_no_registry_and_leave_nothing_open(tracked_files):
    wrong = []
    for name in tracked_files:
        try:
            text = read(os.path.join(ROOT, name))
        except UnicodeDecodeError:
            continue  # a picture or a checkpoint
        wrong += [
            f'{name}: {match.group()}'
            for pattern in (REGISTRY_HOSTS, UNFINISHED)
            for match in pattern.finditer(text)
        ]
    assert wrong == []


def test_locks_have_a_hash_for_every_package():
    locks = [
        path
        for path in glob.glob(os.path.join(ROOT, 'requirements', '*.txt'))
        if not path.endswith('-torch.txt')
    ]
    assert len(locks) == 11
    for path in locks:
        entries = re.split(r'\n(?=\S)', read(path).strip())[1:]  # the first line says how the file is made
        assert entries, path
        for entry in entries:
            assert re.match(
                r'[a-z0-9-]+==[^ ]+( ; [^\\]+)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\\n|$))+$', entry
            ), (path, entry)
