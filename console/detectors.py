"""``tapewatch detectors``: which rules there are, with whose figures, and whether they work."""

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import msgspec
import typer

from console import exits, options, screen
from console.commands import Command, group, takes
from console.pack_lint import lint_packs
from console.progress import CountProgress
from console.reading import read_config
from detectors.core.contract import RuleSpec
from detectors.core.packs import Figure, load_pack, load_rules
from detectors.core.reference import parameter_words
from detectors.core.registry import detector_names, detector_type
from flows.config import Config, ConfigError

app = group("""\
List, show, lint and test the rules, and hold detectors to their contract.

Examples
--------
$ tapewatch detectors list
$ tapewatch detectors show win_rate
$ tapewatch detectors lint
$ tapewatch detectors test win_rate
$ tapewatch detectors conform win_rate
""")


@dataclass(frozen=True, kw_only=True)
class ListAsked(options.Configured):
    """The options of ``list`` and ``lint``."""

    as_json: options.Json = False


@dataclass(frozen=True, kw_only=True)
class ShowAsked(options.Configured):
    """The options of ``show``."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="A detector.")]
    as_json: options.Json = False


@dataclass(frozen=True, kw_only=True)
class TestAsked(options.Configured):
    """The options of ``test``."""

    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A detector; all without it.")
    ] = None
    all_plants: Annotated[
        bool, typer.Option("--all", help="Also the plants of thousands of orders.")
    ] = False
    as_json: options.Json = False


@dataclass(frozen=True, kw_only=True)
class ConformAsked:
    """The options of ``conform``."""

    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A detector; all without it.")
    ] = None
    as_json: options.Json = False


def rules_of(config: Config) -> list[RuleSpec]:
    """Return the rules that are switched on, with what was set applied."""
    packs = config.packs()
    overrides = {name: config.detector_overrides(name) for name in detector_names()}
    return load_rules(packs, overrides)


def _require_known(name: str | None) -> None:
    if name is not None and name not in detector_names():
        known = ", ".join(detector_names())
        raise exits.UsageProblem(f"There is no detector {name}; there is {known}.")


def _figures(pack: str, rule_id: str) -> dict[str, Figure]:
    return next((rule.figures for rule in load_pack(pack).rule if rule.id == rule_id), {})


@app.command("list", cls=Command)
@takes(ListAsked)
def detectors_list(asked: ListAsked) -> None:
    """List the rules that are switched on, with their figures and who says so.

    Examples
    --------
    $ tapewatch detectors list
    $ tapewatch detectors list --json
    """
    rules = rules_of(read_config(asked.data, asked.flags, asked.config_file))
    if asked.as_json:
        screen.put_json_lines(_as_object(rule) for rule in rules)
        return
    table = screen.table("rule", "detector", "figures", wrap=("figures",))
    for rule in rules:
        figures = _figures(rule.pack, rule.id)
        lines = [
            f"{name} = {value}" + (f" ({figures[name].confidence})" if name in figures else "")
            for name, value in rule.parameters.items()
        ]
        table.add_row(rule.id, rule.detector, screen.plain("\n".join(lines)))
    console = screen.out()
    console.print(table)
    console.print(
        "primary: read in the rule's own text; secondary: read in a copy; tunable: unpublished.\n"
        "One of them whole: tapewatch detectors show NAME"
    )


def _as_object(rule: RuleSpec) -> dict[str, Any]:
    figures = {k: msgspec.to_builtins(v) for k, v in _figures(rule.pack, rule.id).items()}
    fields: dict[str, Any] = msgspec.to_builtins(rule)
    return fields | {"figures": figures}


@app.command("show", cls=Command)
@takes(ShowAsked)
def detectors_show(asked: ShowAsked) -> None:
    """Show a detector: what it does, its parameters and its rules with their sources.

    Examples
    --------
    $ tapewatch detectors show win_rate
    $ tapewatch detectors show win_rate --set detectors.win_rate.unit=order
    """
    _require_known(asked.name)
    config = read_config(asked.data, asked.flags, asked.config_file)
    rules = [rule for rule in rules_of(config) if rule.detector == asked.name]
    if asked.as_json:
        parameters = list(_parameters(asked.name, config))
        screen.put_json(
            {
                "detector": asked.name,
                "about": _about(asked.name),
                "parameters": [
                    dict(zip(("name", "default", "set", "origin", "about"), row, strict=True))
                    for row in parameters
                ],
                "rules": [_as_object(rule) for rule in rules],
            }
        )
        return
    _show(asked.name, config, rules)


def _show(name: str, config: Config, rules: list[RuleSpec]) -> None:
    console = screen.out()
    console.print(f"[bold]{name}[/bold]  {screen.plain(_about(name))}\n")
    table = screen.table(
        "parameter",
        "default",
        "set to",
        "from",
        "what it is",
        wrap=("default", "set to", "from", "what it is"),
    )
    for parameter, default, value, origin, about in _parameters(name, config):
        shown = "" if value is None else str(value)
        cells = (parameter, str(default), shown, origin, about)
        table.add_row(*(screen.plain(cell) for cell in cells))
    console.print(table)
    for rule in rules:
        where = ", ".join(rule.venues) or "every venue"
        console.print(f"[bold]{rule.id}[/bold]  {rule.title} {rule.title_zh}")
        console.print(
            f"  pack {rule.pack}; {where}; severity {rule.severity}; exempt when registered: "
            f"{', '.join(rule.exempt) or 'none'}"
        )
        for parameter, figure in _figures(rule.pack, rule.id).items():
            used = rule.parameters[parameter]
            changed = "" if used == figure.value else f" (the pack says {figure.value})"
            console.print(
                screen.plain(
                    f"  {parameter} = {used}{changed}: {figure.article}. {figure.source}; since "
                    f"{figure.effective}, as of {figure.as_of}; {figure.confidence}"
                )
            )


def _about(name: str) -> str:
    document = inspect.getdoc(sys.modules[detector_type(name).__module__]) or ""
    return " ".join(document.split("\n\n")[0].split())


def _parameters(name: str, config: Config) -> Iterator[tuple[str, Any, Any, str, str]]:
    """Yield name, default, value set by hand or None, its origin, and what it is."""
    kind = detector_type(name).params_type
    words = parameter_words(kind)
    overrides = config.detector_overrides(name)
    for field in msgspec.structs.fields(kind):
        origin = config.origin(f"detectors.{name}.{field.name}")
        yield (
            field.name,
            field.default,
            overrides.get(field.name),
            "each rule's pack" if origin.startswith("rule pack") else origin,
            words.get(field.name, ""),
        )


@app.command("lint", cls=Command)
@takes(ListAsked)
def detectors_lint(asked: ListAsked) -> None:
    """Look for mistakes in rule packs and settings, without running anything.

    Exit 0: none. Exit 1: some, each named.

    Examples
    --------
    $ tapewatch detectors lint
    $ tapewatch detectors lint --set detectors.win_rate.threshold=1.5
    """
    problems = []
    try:
        config = read_config(asked.data, asked.flags, asked.config_file)
    except ConfigError as error:
        problems.append(str(error))
    else:
        packs = config.packs()
        overrides = {name: config.detector_overrides(name) for name in detector_names()}
        problems += lint_packs(packs, overrides)
    if asked.as_json:
        screen.put_json({"problems": problems})
    else:
        for problem in problems:
            sys.stdout.write(f"{problem}\n")
        if not problems:
            sys.stdout.write("No mistakes found.\n")
    if problems:
        raise typer.Exit(exits.FINDINGS)


@app.command("test", cls=Command)
@takes(TestAsked)
def detectors_test(asked: TestAsked) -> None:
    """Try rules on planted behaviour: silent below a figure, alert at it, know who is exempt.

    A small simulated market is run with the settings given; what alerts is held against what
    must. Exit 0: as expected. Exit 1: not.

    Examples
    --------
    $ tapewatch detectors test win_rate
    $ tapewatch detectors test
    """
    _require_known(asked.name)
    config = read_config(asked.data, asked.flags, asked.config_file)
    rules = [r.id for r in rules_of(config) if asked.name in {None, r.detector}]
    trial: Any = import_module("console.rule_trial")  # with a simulator and calendars: slow
    if trial.PLANTED_RULES.isdisjoint(rules):
        raise exits.UsageProblem(
            f"Nothing is planted for {asked.name}, since no figure of it says exactly who must "
            f"alert. Hold it to its contract: tapewatch detectors conform {asked.name}"
        )
    with CountProgress(None, "trying rules on planted behaviour") as progress:
        trials = trial.try_rules(rules, asked.flags or [], progress.update, heavy=asked.all_plants)
    if asked.as_json:
        screen.put_json_lines(msgspec.to_builtins(one) for one in trials)
    else:
        _show_trials(trials)
    if not all(one.is_as_expected for one in trials):
        raise typer.Exit(exits.FINDINGS)


def _show_trials(trials: list[Any]) -> None:
    table = screen.table("", "behaviour", "strength", "registered", "alerts", wrap=("alerts",))
    for trial in trials:
        alerted = ", ".join(trial.alerted) or "none"
        must = "" if trial.is_as_expected else f"; must be {', '.join(trial.expected) or 'none'}"
        table.add_row(
            "[green]✔[/green]" if trial.is_as_expected else "[red]✘[/red]",
            trial.behaviour,
            f"{trial.strength:g} ×" if trial.strength else "",
            trial.variant,
            alerted + must,
        )
    console = screen.out()
    console.print(table)
    wrong = sum(not trial.is_as_expected for trial in trials)
    console.print(f"{len(trials)} tries, {wrong} not as expected")


@app.command("conform", cls=Command)
@takes(ConformAsked)
def detectors_conform(asked: ConformAsked) -> None:
    """Hold detectors to the contract that all keep: the same findings in any batching, and more.

    Each is tried with its own examples on two busy days. For detectors of other packages, too.
    Exit 0: all is kept. Exit 1: not.

    Examples
    --------
    $ tapewatch detectors conform win_rate
    $ tapewatch detectors conform --json
    """
    _require_known(asked.name)
    checks: Any = import_module("lab.conformance.trial")  # with stages and calendars: slow
    names = detector_names() if asked.name is None else [asked.name]
    with CountProgress(None, "holding detectors to their contract") as progress:
        trials = checks.try_detectors(names, progress.update)
    if asked.as_json:
        screen.put_json_lines(msgspec.to_builtins(one) for one in trials)
    else:
        table = screen.table("", "detector", "example", "check", "what is wrong", wrap=("check",))
        for one in trials:
            mark = "[red]✘[/red]" if one.fault else "[green]✔[/green]"
            table.add_row(mark, one.detector, one.example, one.check, screen.plain(one.fault))
        screen.out().print(table)
        screen.out().print(f"{len(trials)} checks, {sum(bool(t.fault) for t in trials)} not kept")
    if any(one.fault for one in trials):
        raise typer.Exit(exits.FINDINGS)
