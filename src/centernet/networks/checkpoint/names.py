"""Names in the pickles of checkpoints: those that may be called, and the types of storages."""

#: name of a storage class -> numpy type of its elements; a bfloat16 is the upper half of a float32
STORAGE_TYPES = {
    'DoubleStorage': 'f8',
    'FloatStorage': 'f4',
    'HalfStorage': 'f2',
    'BFloat16Storage': 'u2',
    'LongStorage': 'i8',
    'IntStorage': 'i4',
    'ShortStorage': 'i2',
    'CharStorage': 'i1',
    'ByteStorage': 'u1',
    'BoolStorage': 'u1',
}
#: the calls that training scripts leave in a checkpoint, by module; none is made, and no module is imported
_CALLED = {
    '_codecs': ('encode',),
    'builtins': ('bytearray', 'bytes', 'complex', 'frozenset', 'range', 'set', 'slice', 'xrange'),
    'collections': ('Counter', 'OrderedDict', 'defaultdict', 'deque'),
    'copyreg': ('_reconstructor',),
    'datetime': ('date', 'datetime', 'time', 'timedelta', 'timezone'),
    'decimal': ('Decimal',),
    'numpy': ('dtype',),
    'numpy.core.multiarray': ('_reconstruct', 'scalar'),
    'numpy.core.numeric': ('_frombuffer',),
    'pathlib': ('PosixPath', 'PurePosixPath', 'PureWindowsPath', 'WindowsPath'),
    'torch': ('Size', 'device'),
    'torch._utils': (
        '_rebuild_parameter',
        '_rebuild_parameter_with_state',
        '_rebuild_tensor',
        '_rebuild_tensor_v2',
    ),
    'torch.nn.backends.thnn': ('_get_thnn_function_backend',),  # in a whole network of torch 1.0
    'torch.serialization': ('_get_layout',),
    'types': ('SimpleNamespace',),
}
#: the same modules in Python 2, numpy 2, and Python 3.13
ALIASES = {
    '__builtin__': 'builtins',
    'copy_reg': 'copyreg',
    'numpy._core.multiarray': 'numpy.core.multiarray',
    'numpy._core.numeric': 'numpy.core.numeric',
    'pathlib._local': 'pathlib',
}
#: the same names, with their modules
CALLED = frozenset(f'{module}.{name}' for module, names in _CALLED.items() for name in names)
