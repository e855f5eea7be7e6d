"""How commands are found and explained: loaded when they are called, examples first."""

import inspect
import re
from collections.abc import Callable, Iterator, MutableMapping
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

_SECTION: Final = re.compile(r"\n*^Examples\n-+\n", re.MULTILINE)


_NOTES_ON_TYPES: Final = (
    (re.compile(r" <[\w\[\]]+>  "), "  "),
    (re.compile(r"\{([^}]+)\}\.\.\."), r"\1"),
    (re.compile(r"\[\[([^\]]+)\]\]"), r"[\1]"),
    (re.compile(r"\{(\w+)\}"), r"\1"),
    (re.compile(r"  \[required\]"), ""),
)
Asked = TypeVar("Asked")


class Place(NamedTuple):
    """A command: the module that has it as ``app``, and what it does in a few words."""

    module: str
    summary: str


def split_help(text: str) -> tuple[str, list[str]]:
    r"""Return a docstring without its examples, and the examples' lines.

    Examples
    --------
    >>> split_help("Do it.\n\nExamples\n--------\n$ tapewatch do")
    ('Do it.', ['$ tapewatch do'])
    """
    said, _, examples = _SECTION.sub("\f", text, count=1).partition("\f")
    return said.strip(), [line for line in examples.strip().splitlines() if line.strip()]


def _write_examples(formatter: Any, lines: list[str]) -> None:
    if lines:
        with formatter.section("Examples"):
            for line in lines:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Command(TyperCommand):
    """A command whose help begins with examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write examples, what it does, usage and options."""
        said, examples = split_help(self.help or "")
        _write_examples(formatter, examples)
        _write_said(formatter, said)
        formatter.write_paragraph()
        self.format_usage(ctx, formatter)
        self.format_options(ctx, formatter)

    def get_help(self, ctx: Any) -> str:
        """Return the help without Typer's notes on types, which every text here says better."""
        help_text: str = super().get_help(ctx)
        for pattern, plain in _NOTES_ON_TYPES:
            help_text = pattern.sub(plain, help_text)
        return help_text

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first sentence, whole: help pages have room for it."""
        del limit
        return split_help(self.help or "")[0].partition("\n")[0]


class Group(TyperGroup):
    """Commands under one name; its help begins with examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write examples, what there is, usage."""
        said, examples = split_help(self.help or "")
        _write_examples(formatter, examples)
        _write_said(formatter, said)
        self.format_commands(ctx, formatter)
        formatter.write_paragraph()
        self.format_usage(ctx, formatter)
        typer.core.TyperCommand.format_options(self, ctx, formatter)  # type: ignore[arg-type]

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first sentence, whole."""
        del limit
        return split_help(self.help or "")[0].partition("\n")[0]


def _write_said(formatter: Any, said: str) -> None:
    for paragraph in said.split("\n\n"):
        formatter.write_paragraph()
        formatter.write_text(" ".join(paragraph.split()))


class _Loaded(MutableMapping[str, Any]):
    """Commands by name, each imported when it is asked for."""

    def __init__(self, places: dict[str, Place]) -> None:
        self._places = places
        self._commands: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._commands:
            self._commands[name] = _load(self._places[name].module, name)
        return self._commands[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _load(module: str, name: str) -> Any:
    app = import_module(module).app
    command = typer.main.get_command(app)
    command.name = name
    return command


def root_group(places: dict[str, Place], hidden: frozenset[str]) -> type[Group]:
    """Return a group class with these commands, none of them imported yet."""

    class Root(Group):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = _Loaded(places)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            """List the commands from the table, so that help is as quick as it is asked for."""
            del ctx
            with formatter.section("Commands"):
                formatter.write_dl(
                    [(name, p.summary) for name, p in places.items() if name not in hidden]
                )

    return Root


def takes(kind: type[Asked]) -> Callable[[Callable[[Asked], None]], Callable[..., None]]:
    """Let a command take its options as one object, whose fields are the options."""

    def decorate(function: Callable[[Asked], None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            function(kind(**given))

        signature = inspect.signature(kind)
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        vars(command)["__signature__"] = signature.replace(return_annotation=None)
        return command

    return decorate


def single(function: Callable[..., None]) -> typer.Typer:
    """Return the app of a module that has one command."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(cls=Command)(function)
    return app


def group(text: str) -> typer.Typer:
    """Return the app of a module with several commands; the text holds help and examples."""
    app = typer.Typer(
        cls=Group,
        help=text,
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    app.callback()(_nothing)  # without it, a group of one command would become that command
    return app


def _nothing() -> None:
    pass
