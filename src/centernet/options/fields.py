"""Records whose fields say everything about an option: its flag and help, its value in JSON, the row that
shows it, the words that repeat it, and what a difference between two runs means.

A record is an attrs class whose fields are made by :func:`option`. A new option of an evaluation is one
field.
"""

import json
import os
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, TypeVar

import attr

from ..system.errors import OptionError

#: what a difference means: another run, which is refused; other images of the same run; or other rounding
RUN, IMAGES, DIGITS = 'run', 'images', 'digits'
Record = TypeVar('Record', bound=Any)


def option(
    default: Any = None,
    help: Optional[str] = None,
    means: Optional[str] = None,
    *,
    row: Optional[str] = None,
    show: Optional[Callable[[Any], Optional[str]]] = None,
    word: Optional[Callable[[Any], str]] = None,
    dump: Optional[Callable[[Any], Any]] = None,
    load: Optional[Callable[[Any], Any]] = None,
    check: Optional[Callable] = None,
    environment: Optional[str] = None,
    **argument: Any,
) -> Any:
    """Declare a field.

    Args:
        default: its value where nobody gives another; ``attr.NOTHING`` if it must be given.
        help: what ``--help`` says. A field without it has no flag.
        means: :data:`RUN`, :data:`IMAGES`, :data:`DIGITS`, or None if a difference means nothing.
        row: its name in tables of settings; None leaves it out.
        show: the whole record -> text of the row, None to leave it out; the value by default.
        word: value -> word of the command line; by default as text, with commas between several.
        dump, load: value -> JSON and back; None keeps plain values, and makes tuples of lists.
        check: an attrs validator.
        environment: the variable with the default of the flag.
        argument: for ``ArgumentParser.add_argument``: ``type``, ``choices``, ``metavar``, ``nargs``,
            ``const``.
    """
    about = dict(help=help, means=means, row=row, show=show, word=word, dump=dump, load=load)
    return attr.ib(
        default=default, validator=check, metadata=dict(about, environment=environment, argument=argument)
    )


def whole(
    help: str, means: Optional[str] = None, default: Optional[int] = None, least: int = 1, **more: Any
) -> Any:
    """Declare a field with a whole number of at least ``least``; the others as for :func:`option`."""

    def check(_: Any, field: Any, value: Any) -> None:
        if value is not None and value < least:
            raise OptionError(f'{flag(field.name)} must be at least {least}, not {value}')

    more.setdefault('metavar', 'N')
    return option(default, help, means, check=check, type=int, **more)


def flag(name: str) -> str:
    """The flag of a field."""
    return '--' + name.replace('_', '-')


def names(record: Type) -> List[str]:
    """The fields of a record that have flags."""
    return [field.name for field in attr.fields(record) if field.metadata.get('help')]


def add_flags(group: Any, record: Type, *only: str, **changes: Dict[str, Any]) -> None:
    """Add the flags of a record's fields to an argparse group.

    Args:
        group: from ``add_argument_group``.
        record: the class.
        only: names of fields; all that have help by default.
        changes: name -> other arguments for ``add_argument``, such as ``help``.
    """
    fields = attr.fields_dict(record)
    for name in only or names(record):
        about, default = fields[name].metadata, fields[name].default
        if about['environment']:
            default = os.environ.get(about['environment']) or default
        argument = dict(about['argument'], help=about['help'], default=default)
        if default is False:
            argument['action'] = 'store_true'
        group.add_argument(flag(name), **dict(argument, **changes.get(name, {})))


def read_flags(record: Type[Record], arguments: Any, **values: Any) -> Record:
    """Make a record of parsed options.

    Args:
        record: the class.
        arguments: what argparse returns; fields that it lacks keep their default.
        values: of further fields.
    """
    given = vars(arguments)
    found = {field.name: given[field.name] for field in attr.fields(record) if field.name in given}
    return record(**dict(found, **values))


def of_values(function: str, values: Mapping[str, Any], *records: Type) -> List[Any]:
    """Make records of named values, as Python code gives them: text is read as on the command line.

    Args:
        function: that takes the values, for messages.
        values: name -> value.
        records: the classes that have fields of these names.

    Raises:
        OptionError: no record has the field, or it cannot have the value.
    """
    given: List[Dict[str, Any]] = [{} for _ in records]
    for name, value in values.items():
        place = next((place for place in zip(records, given) if name in names(place[0])), None)
        if place is None:
            known = ', '.join(known for record in records for known in names(record))
            raise OptionError(f'{function} has no option {name!r}; it has {known}')
        read = attr.fields_dict(place[0])[name].metadata['argument'].get('type')
        try:
            place[1][name] = read(value) if read and isinstance(value, str) else value
        except ValueError as error:
            raise OptionError(f'{name}: {error}') from None
        if isinstance(value, list):
            place[1][name] = tuple(value)
    return [record(**known) for record, known in zip(records, given)]


def of_environment(record: Type[Record]) -> Record:
    """Make a record of the variables that are the defaults of flags."""
    fields = [field for field in attr.fields(record) if field.metadata['environment']]
    found = {field.name: os.environ.get(field.metadata['environment']) for field in fields}
    return record(**{name: value for name, value in found.items() if value})


def to_words(record: Any, without: Sequence[str] = ()) -> List[str]:
    """The words of a command line that give a record's values, where they are not the defaults."""
    words: List[str] = []
    for field in attr.fields(type(record)):
        value = getattr(record, field.name)
        if not field.metadata['help'] or field.name in without or value is None or value == field.default:
            continue
        words.append(flag(field.name))
        if value is not True:
            words.append((field.metadata['word'] or _word)(value))
    return words


def _word(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ','.join(map(_word, value))
    return f'{value:g}' if isinstance(value, float) else str(value)


def rows(record: Any) -> List[Tuple[str, str]]:
    """The names and values of a record, for tables of settings."""
    found = []
    for field in attr.fields(type(record)):
        about, value = field.metadata, getattr(record, field.name)
        if about['row']:
            text = about['show'](record) if about['show'] else _shown(value)
            if text is not None:
                found.append((about['row'], text))
    return found


def _shown(value: Any) -> Optional[str]:
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return None if value is None else _word(value).replace(',', ', ')


def to_json(record: Any) -> Dict[str, Any]:
    """A record as plain values; fields of a newer version that were read are kept."""
    found = {}
    for field in attr.fields(type(record)):
        value = getattr(record, field.name)
        if field.name == 'unknown':
            found.update(value)
        elif attr.has(type(value)):
            found[field.name] = to_json(value)
        else:
            found[field.name] = _plain(field, value)
    return json.loads(json.dumps(found))


def _plain(field: Any, value: Any) -> Any:
    dump = field.metadata.get('dump')
    return dump(value) if dump and value is not None else value


def from_json(record: Type[Record], document: Mapping[str, Any]) -> Record:
    """The inverse of :func:`to_json`. A field that is missing has its default.

    Raises:
        KeyError, TypeError, ValueError: the document is not such a record.
    """
    values, fields = {}, attr.fields_dict(record)
    for name, field in fields.items():
        if name in document:
            load, value = field.metadata.get('load'), document[name]
            if value is not None and load:
                value = load(value)
            values[name] = tuple(value) if isinstance(value, list) else value
    if 'unknown' in fields:
        values['unknown'] = {name: value for name, value in document.items() if name not in fields}
    return record(**values)


def nested(record: Type) -> Any:
    """Declare a field that is a record itself."""
    return option(attr.NOTHING, load=lambda document: from_json(record, document))


class Difference(NamedTuple):
    """A value that differs between two records. ``means``: see :func:`option`."""

    name: str
    before: Any
    now: Any
    means: Optional[str]

    def __str__(self) -> str:
        return f'{self.name} was {json.dumps(self.before)}, is now {json.dumps(self.now)}'


def differences(old: Any, new: Any, prefix: str = '') -> List[Difference]:
    """What differs between two records of a class and means something."""
    found: List[Difference] = []
    for field in attr.fields(type(old)):
        before, now = getattr(old, field.name), getattr(new, field.name)
        name = prefix + field.name
        if attr.has(type(before)):
            found += differences(before, now, name + '.')
        elif field.metadata.get('means') and before != now:
            shown = _plain(field, before), _plain(field, now)
            found.append(Difference(name, *shown, field.metadata['means']))
    return found


def read_list(path: str, what: str) -> str:
    """Return the text of a file that lists something.

    Raises:
        OptionError: it cannot be read, or is not text.
    """
    try:
        with open(path, encoding='utf-8-sig') as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'it is not UTF-8 text'
        raise OptionError(f'cannot read the {what} in {path}: {reason}') from None


def each(words: Any, kind: Callable, message: str) -> Tuple:
    """Convert each word; ``message`` says what they are. Raises OptionError."""
    found = []
    for word in words:
        try:
            found.append(kind(word))
        except ValueError:
            raise OptionError(f'{message}, not {word!r}') from None
    return tuple(found)
