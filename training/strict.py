"""Dataclasses from mappings, as YAML gives them: no name that is not known, no value of another type."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints


T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be meant; names the field."""


def read_section(kind: type[T], given: Any, where: str) -> T:
    """A dataclass from a mapping of its fields.

    Args:
        kind: the dataclass; fields that are dataclasses, or lists of them, are read in the same way.
        given: as YAML gives it.
        where: dotted name of the section, for messages.

    Raises:
        ConfigError: for a field that is unknown (with the nearest known one), missing or of another type, or what the
            dataclass itself refuses.
    """
    values = check_fields(kind, given, where)
    try:
        return kind(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error


def check_fields(kind: type, given: Any, where: str) -> dict[str, Any]:
    """The fields of a dataclass that a mapping gives, each of its type.

    Raises:
        ConfigError: as [`read_section`].
    """
    known = {field.name: field for field in fields(kind) if field.init}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {given!r}; it must be a mapping with {', '.join(known)}.")
    refuse_unknown(given, known, where)
    required = [name for name, field in known.items() if field.default is MISSING and field.default_factory is MISSING]
    missing = [name for name in required if name not in given]
    if missing:
        raise ConfigError(f"{where or 'the configuration'} needs {' and '.join(missing)}.")
    hints = get_type_hints(kind)
    return {name: _read(hints[name], value, f"{where}.{name}".lstrip(".")) for name, value in given.items()}


def refuse_unknown(given: Iterable[Any], known: Iterable[str], where: str) -> None:
    """Refuse names that nothing reads.

    Raises:
        ConfigError: with the nearest known name.
    """
    known = list(known)
    for name in given:
        if name not in known:
            raise ConfigError(f"{f'{where}.{name}'.lstrip('.')} is unknown; {nearest(str(name), known)}")


def nearest(name: str, known: Sequence[str]) -> str:
    """What a name was probably meant to be, or all that it could be."""
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."


def _values(enum: Any) -> list[str]:
    return [str(member.value) for member in enum]


def _is_enum(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, Enum)


def _read(hint: Any, value: Any, where: str) -> Any:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    sections = [option for option in options if isinstance(option, type) and is_dataclass(option)]
    if sections and isinstance(value, Mapping):
        return read_section(sections[0], value, where)
    for option in options:
        items = _item_type(option)
        if items is not None and isinstance(value, list | tuple):
            read = [_read(items, item, f"{where}.{number}") for number, item in enumerate(value)]
            return tuple(read) if get_origin(option) is tuple else read
    names = [name for option in options if _is_enum(option) for name in _values(option)]
    if value is False and "no" in names:  # as YAML reads a `no` without quotes
        return "no"
    if names and isinstance(value, str) and value not in names:
        raise ConfigError(f"{where} is {value!r}; {nearest(value, names)}")
    if any(_fits(option, value) for option in options):
        return float(value) if float in options and int not in options and type(value) is int else value
    hint_at = " (in YAML, 1e-4 is text: write 1.0e-4)" if float in options and isinstance(value, str) else ""
    raise ConfigError(f"{where} is {value!r}; it must be {' or '.join(map(_name, options))}{hint_at}.")


def _item_type(option: Any) -> Any:
    """What a list or tuple of any length holds; none for other types."""
    arguments = get_args(option)
    if get_origin(option) is list:
        return arguments[0]
    if get_origin(option) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return arguments[0]
    return None


def _fits(option: Any, value: Any) -> bool:
    if option is Any:
        return True
    if get_origin(option) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(option))
    plain = get_origin(option) or option
    if plain is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if plain is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if _is_enum(plain):
        return isinstance(value, plain) or value in _values(plain)
    return not isinstance(plain, type) or isinstance(value, plain)


def _name(option: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    if option in names:
        return names[option]
    if get_origin(option) is Literal:
        return " or ".join(map(repr, get_args(option)))
    if isinstance(option, type) and is_dataclass(option):
        return f"a mapping with {', '.join(field.name for field in fields(option))}"
    if _item_type(option) is not None:
        return f"a list of {_name(_item_type(option))}"
    if _is_enum(option):
        return f"one of {', '.join(_values(option))}"
    plain = get_origin(option) or option
    return "a mapping" if plain in (dict, Mapping) else getattr(plain, "__name__", str(plain))
