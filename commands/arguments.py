"""What the command lines share: exit codes, and how lists, options and numbers are written."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, NoReturn


DONE, LEFT, REFUSED, STOPPED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """Errors are told as any other, in one line, and no abbreviated options: `--set` never means `--settings`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see `{self.prog} --help`)")


def add_list(parser: argparse._ActionsContainer, name: str, **settings) -> None:
    """An option that takes several values with spaces between them; given again, it adds to them."""
    parser.add_argument(name, nargs="+", action="extend", default=[], **settings)


def add_pairs(parser: argparse._ActionsContainer, name: str, metavar: str = "NAME=VALUE", **settings) -> None:
    """A list of `NAME=VALUE`."""
    add_list(parser, name, type=_pair, metavar=metavar, **settings)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def pairs(given: Iterable[tuple[str, str]], option: str) -> dict[str, str]:
    """The pairs of an option by name.

    Raises:
        ValueError: if a name has two values.
    """
    found: dict[str, str] = {}
    for name, value in given:
        if found.setdefault(name, value) != value:
            raise ValueError(f"{option} {name} is given twice: {found[name]!r} and {value!r}.")
    return found


def settings_of(kind: type[Any], options: argparse.Namespace, **given: Any) -> Any:
    """A dataclass of what options of the same names say.

    Args:
        kind: the dataclass.
        options: as they were parsed; lists become tuples.
        given: fields that have no option of their name, or another value.
    """
    said = {field.name: getattr(options, field.name) for field in fields(kind) if field.name not in given}
    return kind(**given, **{name: tuple(value) if isinstance(value, list) else value for name, value in said.items()})


def refuse_unread(options: argparse.Namespace, names: Iterable[str], belong_to: str, there: bool) -> None:
    """Refuse options that were given without what they belong to, as they would do nothing.

    Args:
        options: as they were parsed.
        names: of options, as they are written.
        belong_to: what reads them.
        there: whether that is the case.
    """
    for name in () if there else given(options, names):
        raise ValueError(f"{name} belongs to {belong_to}; without, it does nothing: leave it out.")


def given(options: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Which options a user wrote, whatever their values."""
    written = {word.partition("=")[0] for word in options.words}
    return [name for name in names if name in written]


def count(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def count_or_none(text: str) -> int:
    """A whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


count.__name__ = count_or_none.__name__ = "whole number"  # as argparse calls it in its messages
