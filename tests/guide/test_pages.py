"""Every page of the manual is true: options, links, and examples, each by the real reader."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipecopy.cli.codes import MEANINGS
from pipecopy.cli.options import GoOn
from pipecopy.units import bytes_of
from tests.support.asked import asked
from tests.support.command import run
from tests.support.dask_cluster import needs_distributed
from tests.support.databases import Both
from tests.support.manual import (
    FOLDER,
    PAGES,
    README,
    all_pages,
    blocks,
    commands,
    options_of,
    with_options,
    with_picture_and_topics,
)
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.scripts import run_script

GENERATED = "python -m tests.support.manual writes it anew"
OPTIONS = {option["name"] for command in commands() for _, option in options_of(command)}
_OF_HELP = {"--help", "--version"}
_OF_OTHERS = {
    *("--array", "--cpus-per-task", "--dependency", "--kill-on-invalid-dep", "--mem"),  # sbatch's
    *("--parsable", "--time"),
    *("--for", "--timeout"),  # kubectl's
    "--nthreads",  # Dask's
}
_OPERATORS = {"&&", "|", "||", ";"}
_REDIRECTS = {">", ">>", "<"}
PLANNED = {"${RUN}": "0799925ee8e1", "${SHARDS}": "200"}
"""What the page puts into the Job of a run that was planned."""
CONFIGURATION = next(code for name, code in blocks("toml") if name == "configuration.md")


def command_lines() -> Iterator[tuple[str, str]]:
    """Yield each line that the pages show for a shell, a crontab or systemd."""
    for page, block in blocks("sh"):
        yield from ((page, line) for line in block.replace("\\\n", "").splitlines())
    for page, block in blocks("crontab"):
        yield from ((page, line) for line in re.findall(r"^(?:\S+ ){5}(.+)", block, re.MULTILINE))
    for page, block in blocks("ini"):
        yield from ((page, line) for line in re.findall(r"^ExecStart=(.+)", block, re.MULTILINE))


def pipecopys() -> Iterator[tuple[str, list[str]]]:
    """Yield the arguments of each pipecopy in them."""
    for page, line in command_lines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in _OPERATORS:
                words.append(word)
                continue
            cut = next((n for n, w in enumerate(words) if w in _REDIRECTS | {"2"}), len(words))
            if words and Path(words[0]).name == "pipecopy":
                yield page, words[1:cut]
            words = []


COMMANDS = [*pipecopys()]


def asked_at_work(
    configuration: str, folder: Path, patch: pytest.MonkeyPatch, *words: str
) -> SimpleNamespace:
    """Return what the command line asks for where there is this pipecopy.toml.

    The variables that it names are set.
    """
    patch.chdir(folder)
    Path("pipecopy.toml").write_text(configuration, encoding="utf-8")
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", configuration), "something")
    return asked(*words, **variables)


def test_the_options_and_the_readme_are_as_generated() -> None:
    assert with_options(PAGES["options"]) == PAGES["options"], GENERATED
    readme = README.read_text(encoding="utf-8")
    assert with_picture_and_topics(readme) == readme, GENERATED
    assert len(readme.splitlines()) <= 125


@pytest.mark.parametrize("page", all_pages())
def test_each_option_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", all_pages()[page]))
    assert named <= OPTIONS | _OF_HELP | _OF_OTHERS


@pytest.mark.parametrize("page", all_pages())
def test_each_link_leads_to_a_file_and_a_heading(page: str) -> None:
    text = all_pages()[page]
    folder = README.parent if page == "README.md" else FOLDER
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("https:"):
            continue
        name, _, anchor = link.partition("#")
        target = folder / name if name else folder / page
        assert target.is_file(), link
        headings = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"\W+", "-", one.lower()) for one in headings}
        if page != "README.md":  # it travels with the package
            assert target.parent == FOLDER


@pytest.mark.parametrize("page", all_pages())
def test_no_page_has_the_marks_of_a_merge(page: str) -> None:
    assert not re.findall(r"^(?:<{7}|={7}|>{7}).*", all_pages()[page], re.MULTILINE)


def test_what_has_to_keep_its_lines_fits_a_terminal() -> None:
    drawings = [block for block in blocks("text") if "│" in block[1]]
    for page, block in (*drawings, *blocks("yaml"), *blocks("ini"), *blocks("toml")):
        assert max(map(len, block.splitlines())) <= 78, page


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[" ".join(w) for _, w in COMMANDS])
def test_a_command_that_is_shown_is_one_that_the_parser_takes(
    page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del page
    asked_at_work(CONFIGURATION, tmp_path, monkeypatch, *words)


@pytest.mark.parametrize("block", [code for _, code in blocks("toml")])
def test_a_configuration_that_is_shown_is_one_that_the_reader_takes(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = re.findall(r"^\[jobs\.(\w+)\]", block, re.MULTILINE)
    assert jobs
    for job in jobs:
        for command in ("copy", "check", "verify"):
            asked_at_work(block, tmp_path, monkeypatch, command, job)


@pytest.mark.parametrize("code", [code for _, code in blocks("python")])
def test_python_that_is_shown_is_python(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.keyword(arg="arguments", value=ast.List() as words):  # of Airflow's operator
                given = ast.literal_eval(words)
                assert given[0] in commands()
                for word in given:
                    assert not word.startswith("--") or word.partition("=")[0] in OPTIONS


@pytest.mark.parametrize("page", ["kubernetes.md", "shards.md"])
def test_the_job_for_kubernetes(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml: Any = pytest.importorskip("yaml")
    ((_, code),) = (block for block in blocks("yaml") if block[0] == page)
    for name, value in {**PLANNED, "$(JOB_COMPLETION_INDEX)": "199"}.items():
        code = code.replace(name, value)
    job = yaml.safe_load(code)["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    command = asked_at_work(CONFIGURATION, tmp_path, monkeypatch, *container["args"])
    # retries
    rules = [rule for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert all(rule["onExitCodes"]["containerName"] == container["name"] for rule in rules)
    failed = {code: rule["action"] for rule in rules for code in rule["onExitCodes"]["values"]}
    passes = {0, 75, 124, 129, 130, 143}
    if page == "shards.md":
        assert command.go_on == GoOn(run=PLANNED["${RUN}"], shard=199)
        assert (job["completionMode"], job["completions"]) == ("Indexed", 200)
        passes.add(71)  # another node may have what this one refused
        assert {code for code, action in failed.items() if action == "FailJob"} == {2, 5}
    assert {meaning.code for meaning in MEANINGS} - failed.keys() == passes
    # limits
    limits = command.limits
    assert limits.full_copy_timeout < pod["activeDeadlineSeconds"]
    assert "activeDeadlineSeconds" not in job  # it would count the retries too
    assert pod["terminationGracePeriodSeconds"] > limits.grace + 5
    memory = bytes_of(container["resources"]["limits"]["memory"] + "B")
    assert memory > 100_000_000 + (limits.read_ahead + 2) * limits.max_batch_bytes
    assert pod["restartPolicy"] == "Never"


@pytest.fixture
def services(both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the services `prod`, whose table has 95 rows, and `stats`, which has an empty one."""
    create_profiles(both.source, 95)
    create_profiles(both.target)
    services = tmp_path / "services"
    services.write_text(
        "".join(
            f"[{name}]\n" + "\n".join(database.conninfo.split()) + "\n\n"
            for name, database in (("prod", both.source), ("stats", both.target))
        )
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", str(tmp_path))


@pytest.mark.usefixtures("services")
def test_what_the_readme_shows_runs_as_it_is_printed(both: Both, tmp_path: Path) -> None:
    ran = [words for page, words in COMMANDS if page == "README.md" and "service=prod" in words]
    assert [words[0] for words in ran] == ["check", "copy", "verify"]
    for words in ran:
        result = run(*words)
        assert result.returncode == 0, result.stderr
    assert_equal_tables(both.source, both.target)
    (script,) = (code for name, code in blocks("python") if name == "README.md")
    for code in (script, next(code for name, code in blocks("python") if name == "library.md")):
        ended = run_script(tmp_path, code)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith("95 rows")
        assert ended.stdout.endswith("next id 96\n")


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("page", ["library.md", "shards.md"])
def test_a_script_that_copies_in_shards_runs(page: str, both: Both, tmp_path: Path) -> None:
    (script,) = (code for name, code in blocks("python") if name == page and "_sharded(" in code)
    if "distributed" in script:
        needs_distributed()
    ended = run_script(tmp_path, script, timeout=100)  # a cluster starts five processes
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "95 rows" in ended.stdout
    assert_equal_tables(both.source, both.target)
    assert both.target.value("SELECT to_regclass('pipecopy_shards')") is None
