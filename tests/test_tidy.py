"""The rules of how our code reads, as tests. Words that must not stand here are put together."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("schemas", "detectors", "ledger", "flows", "lab", "console")
CLOCK = "flows/clock.py"
OUTERMOST = "console/cli.py"
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 7
MODULE_LINES_MAX = 500
FILE_SIZE_MAX = 5 * 2**20
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef
MODULES = sorted(
    path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")
)
DETECTORS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "detectors").glob("*.py")
    if not path.name.startswith("_")
)


@cache
def source(module: str) -> str:
    return (ROOT / module).read_text(encoding="utf-8")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(source(module))


def functions(module: str) -> Iterator[Function]:
    return (node for node in ast.walk(tree(module)) if isinstance(node, FUNCTIONS))


def body_lines(function: Function) -> int:
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def parameter_count(function: Function) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in {"self", "cls"} for argument in named)


@cache
def tracked_files() -> tuple[str, ...]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    return tuple(name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file())


@cache
def tracked_texts() -> dict[str, str]:
    texts = {}
    for name in tracked_files():
        data = (ROOT / name).read_bytes()
        if b"\0" not in data:
            texts[name] = data.decode(errors="replace")
    return texts


def places_of(pattern: str, flags: int = 0) -> list[str]:
    """Return file:line of every match in a tracked text."""
    wanted = re.compile(pattern, flags)
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        for name, text in tracked_texts().items()
        for match in wanted.finditer(text)
    ]


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module: str) -> None:
    long = {f.name: body_lines(f) for f in functions(module) if body_lines(f) > FUNCTION_LINES_MAX}
    assert long == {}


@pytest.mark.parametrize("module", MODULES)
def test_functions_take_few_parameters(module: str) -> None:
    many = {f.name for f in functions(module) if parameter_count(f) > PARAMETERS_MAX}
    assert many == set()


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short(module: str) -> None:
    assert source(module).count("\n") <= MODULE_LINES_MAX


@pytest.mark.parametrize("module", MODULES)
def test_no_module_catches_everything(module: str) -> None:
    """Only the command line's outermost function may; else a bug of ours passes for bad input."""
    caught = [
        f"{module}:{node.lineno}"
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ExceptHandler) and catches_everything(node)
    ]
    assert len(caught) <= (module == OUTERMOST), caught


def catches_everything(handler: ast.ExceptHandler) -> bool:
    """Tell; a handler that always raises again only cleans up, so it is left alone."""
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    last = handler.body[-1]
    raises_again = isinstance(last, ast.Raise) and last.exc is None
    return "Exception" in names or ("BaseException" in names and not raises_again)


@pytest.mark.parametrize("module", [module for module in MODULES if module != CLOCK])
def test_only_the_clock_module_reads_a_clock(module: str) -> None:
    banned = {"time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns"}
    banned |= {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
    used = {ast.unparse(n) for n in ast.walk(tree(module)) if isinstance(n, ast.Attribute)}
    assert {name for name in used if any(name.endswith(end) for end in banned)} == set()
    assert "TID251" not in source(module), "the ban on clocks has no exception"


@pytest.mark.parametrize("module", MODULES)
def test_what_silences_the_linter_says_why(module: str) -> None:
    silences = re.finditer(r"# noqa(:? ?[A-Z0-9, ]*)(.*)", source(module))
    bare = [match[0] for match in silences if not match[2].strip(" -:")]
    assert bare == []


@pytest.mark.parametrize("module", DETECTORS)
def test_every_parameter_of_a_detector_is_documented(module: str) -> None:
    params = [
        node
        for node in tree(module).body
        if isinstance(node, ast.ClassDef) and node.name == "Params"
    ]
    assert len(params) == 1, f"{module} has no Params"
    documented = set((ast.get_docstring(params[0]) or "").replace(",", " ").split())
    fields = {
        node.target.id
        for node in params[0].body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert fields - documented == set()


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_typed(room: str) -> None:
    assert (ROOT / room / "py.typed").is_file()


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_named_for_one_idea(module: str) -> None:
    assert Path(module).stem not in {"utils", "util", "helpers", "common", "misc"}


def test_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in (ROOT / "tests" / "unit").iterdir() if path.is_dir()}
    assert folders - {*ROOMS, "__pycache__"} == set()


def test_no_tracked_file_is_large() -> None:
    large = [name for name in tracked_files() if (ROOT / name).stat().st_size > FILE_SIZE_MAX]
    assert large == []


def test_no_tracked_file_names_a_registry() -> None:
    hosts = (
        "py" + r"pi\.org",
        "python" + r"hosted\.org",
        "npm" + r"js\.(org|com)",
        "anaconda" + r"\.org",
    )
    assert places_of("|".join(hosts), re.IGNORECASE) == []


def test_no_tracked_file_names_a_home_folder() -> None:
    assert places_of(r"/(?:root|home|Users|work)/[\w.]") == []


def test_no_unfinished_work_is_marked_in_files() -> None:
    """Open work lives in the issue list."""
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK", "W" + "IP")
    assert places_of(rf"\b(?:{'|'.join(words)})\b") == []


def pins(name: str) -> dict[str, str]:
    lines = re.findall(r"^([\w.-]+)==(\S+)(?: ; ([^\\\n]+))?", source(name), re.MULTILINE)
    return {f"{package} {marker}".strip(): version for package, version, marker in lines}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_hashed_and_name_no_index(name: str) -> None:
    lines = source(name).splitlines()
    assert [line for line in lines if line.startswith("-") or "://" in line] == []
    for before, line in pairwise(lines):
        assert "==" not in before or line.startswith("    --hash=sha256:")


def test_both_requirements_pin_the_same_versions() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads(source("pyproject.toml"))["project"]
    pinned = {key.split()[0] for key in pins("requirements-dev.txt")}
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[<>=\[]", item)[0] for item in declared} - pinned == set()


def test_every_target_says_what_it_does() -> None:
    targets = re.findall(r"^([a-z]+):(?!=)(.*)$", source("Makefile"), re.MULTILINE)
    assert {name for name, rest in targets if "## " not in rest} == set()
    promised = {"demo", "test", "up", "check", "bench", "fmt", "lint", "types", "docs", "clean"}
    assert promised | {"help"} <= {name for name, _ in targets}


def test_the_licence_of_the_project_is_whole() -> None:
    text = source("LICENSE")
    assert text.splitlines()[0].strip() == "Apache License"
    assert "END OF TERMS AND CONDITIONS" in text
