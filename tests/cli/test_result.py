"""`--json` prints one object of one shape, however the command ends."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipecopy.cli.result import SCHEMA
from tests.support.command import BEFORE_IMPORTS, run, run_struck, run_stubbed

RUN = """
    schema command outcome exit_code error
    run_id source target table target_table key started ended
    calls timeouts kills retries seconds paused warnings
"""
SHAPES = {  # of schema 3: whoever changes one raises SCHEMA
    None: RUN,
    "jobs": "schema command outcome exit_code error file looked_in jobs problems",
    "copy": f"""{RUN}
        rows inserted updated unchanged batches bytes first_id max_id next_id batch_size
        shards done again rows_before hosts tables
    """,
    "plan": f"{RUN} tables shards",
    "runs": f"{RUN} runs dropped",
    "check": f"{RUN} items columns plan can_start tables",
    "verify": f"""{RUN}
        rows ranges first_id max_id next_id equal missing surplus differing missing_ids surplus_ids
        differing_ids not_comparable not_comparable_ids not_repaired not_repaired_ids cut_lists
        repaired deleted without_id repair
        delete_surplus generated not_compared differing_generated jobs tables
    """,
}
ERROR = "class message side dbname call key_range attempts sqlstate errno limit holder"
NOWHERE = "host=127.0.0.1 port=1"
QUICK = ("--max-retries", "0", "--call-timeout", "5s")


def seen(ended: subprocess.CompletedProcess[str], command: str | None) -> dict[str, Any]:
    """Return the object, which is all of standard output; see that it has the shape."""
    assert ended.stdout.count("\n") == 1, (ended.stdout, ended.stderr)
    whole: dict[str, Any] = json.loads(ended.stdout)
    assert sorted(whole) == sorted(SHAPES[command].split())
    assert (whole["schema"], whole["command"]) == (SCHEMA, command)
    assert whole["exit_code"] == ended.returncode
    if whole["outcome"] != "complete":
        assert sorted(whole["error"]) == sorted(ERROR.split())
    return whole


def raises(error: str) -> str:
    return f"def copy_table(*_, **__): raise {error}"


STRIKE = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)"
STOPPED = """
def copy_table(*_, stop, **__):
    os.kill(os.getpid(), signal.SIGTERM)
    while not stop.is_set():
        time.sleep(0.01)
    raise StoppedError("", report=report("stopped"))
"""
ENDS = {  # of a copy: its outcome, and its exit code
    "complete": ("def copy_table(*_, **__): return report('complete')", "complete", 0),
    "the target": (
        raises("DatabaseError('', side='target', report=report('failed'))"),
        "failed",
        4,
    ),
    "too late": (raises("FullCopyTimeoutError('', report=report('timed out'))"), "timed out", 124),
    "the machine": (raises("HostError('no', errno=24, limit='RLIMIT_NOFILE')"), "failed", 71),
    "a bug": (raises("ValueError('no')"), "failed", 70),
    "outside of the run": ("app.Output.screen = copy_table = None", "failed", 70),
    "a signal": (STOPPED, "stopped", 143),
    "a signal outside of the run": (
        f"def Screen(*_, **__): {STRIKE}\napp.Output.screen, copy_table = Screen, None",
        "stopped",
        143,
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_however_a_copy_ends(end: str) -> None:
    stub, outcome, code = ENDS[end]
    whole = seen(run_stubbed(stub, "--json"), "copy")
    assert (whole["outcome"], whole["exit_code"]) == (outcome, code)
    assert (whole["error"] is None) == (code == 0)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("copy", ["a", "b", "--nope"]),
        ("copy", ["a", "b", "c"]),
        ("copy", ["a", "b", "--json=true", "--call-timeout", "nan"]),
        ("check", ["a", "b", "--config", "no.toml"]),
        ("verify", []),
        ("plan", ["host=a", "host=b"]),
        ("runs", ["a", "b", "--drop", "12"]),
        ("verify", ["a", "b", "--delete-surplus"]),
        ("jobs", ["nightly"]),
        (None, ["--nope"]),
    ],
)
def test_wrong_usage(command: str | None, arguments: list[str]) -> None:
    words = [] if command is None else [command]
    whole = seen(run(*words, "--json", *arguments), command)
    assert (whole["outcome"], whole["exit_code"]) == ("failed", 2)
    assert whole["error"]["class"] == "ConfigError"


def test_json_may_be_asked_for_by_a_variable_or_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pipecopy.toml").write_text("[defaults]\njson = true\n", encoding="utf-8")
    for arguments in (["--nope"], ["--batch-size", "0"]):
        seen(run("verify", "a", "b", *arguments), "verify")
    monkeypatch.setenv("PIPECOPY_JSON", "yes")
    Path("pipecopy.toml").write_text("[nonsense", encoding="utf-8")
    seen(run("check", "a", "b"), "check")
    assert run("check", "a", "b", "--json=false").stdout == ""


@pytest.mark.parametrize("command", ["copy", "check", "verify"])
def test_a_signal_in_the_first_millisecond_and_a_server_that_is_not_there(command: str) -> None:
    strike = BEFORE_IMPORTS.format(signum="SIGTERM")
    struck = run_struck(strike, command, "a", "b", "--json")
    whole = seen(struck, command)
    assert (whole["outcome"], whole["exit_code"], whole["run_id"]) == ("stopped", 143, None)
    named = ("--table", "shop.orders", "--target-table", "orders", "--key", "number")
    began = seen(run(command, NOWHERE, NOWHERE, *QUICK, *named, "--json"), command)
    assert (began["table"], began["target_table"], began["key"]) == (
        "shop.orders",
        "orders",
        "number",
    )
    started, ended = (datetime.fromisoformat(began[name]) for name in ("started", "ended"))
    assert str(started.tzinfo) == "UTC"
    assert 0 <= (ended - started).total_seconds() < 20
