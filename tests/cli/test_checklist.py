"""The expected screen is the test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipecopy.cli.checklist import SYMBOLS, WORDS, Signs, checklist, verdict
from pipecopy.finding import Finding
from pipecopy.report import CheckColumn, CheckPlan, CheckReport, Outcome

REPORT = CheckReport(
    run_id="0123456789ab",
    source="prod",
    target="stats",
    outcome="complete",
    calls=12,
    timeouts=0,
    kills=0,
    retries=0,
    seconds=0.4,
    items=(
        Finding(side="source", what="server", mark="ok", message="PostgreSQL 16.4"),
        Finding(
            side="target",
            what="rights",
            mark="problem",
            message="the role app has no TEMP right on the database dwh",
            remedy='GRANT TEMP ON DATABASE "dwh" TO "app";',
            cause="unfit",
        ),
        Finding(
            side="target",
            what="table",
            mark="warning",
            message="triggers of profiles fire for the copied rows: one_with_a_name, another",
        ),
        Finding(
            side=None,
            what="columns",
            mark="problem",
            message='the target has no column "größe"',
            remedy="add it there, or leave it out (`--columns`)",
            cause="unfit",
        ),
    ),
    columns=(
        CheckColumn(name="id", source="bigint", target="bigint", mark="ok"),
        CheckColumn(name="größe", source="mood (enum: 'sad', 'ok')", target=None, mark="problem"),
    ),
    plan=CheckPlan(
        first_id=300,
        max_id=7500,
        rows=7400,
        bytes=2_600_000,
        batches=2,
        format="binary",
        format_reason="no column has another binary form",
        method="direct",
        method_reason="no row with any of these ids is there",
        resume_id=300,
        ends_before="2030-01-02T06:00:00+01:00",
    ),
)
NARROW = """\
Source  prod
  ✓ server   PostgreSQL 16.4

Target  stats
  ✗ rights   the role app has no TEMP right on the
             database dwh
             → GRANT TEMP ON DATABASE "dwh" TO "app";
  ! table    triggers of profiles fire for the
             copied rows: one_with_a_name, another

Columns
           source               target
  ✓ id     bigint               bigint
  ✗ größe  mood (enum: 'sad',…  -
  ✗ columns  the target has no column "größe"
             → add it there, or leave it out
             (`--columns`)

What a copy would do
  ids        from 300 to 7500
  resume     from id 300, the greatest in the target
  rows       about 7,400, 2.6 MB, in 2 batches
  format     binary (no column has another binary
             form)
  method     direct (no row with any of these ids is
             there)
  ends       by 2030-01-02 06:00:00 at the latest,
             if it begins now

A copy can't start: 2 problems."""


def drawn(report: CheckReport, width: int, signs: Signs) -> list[str]:
    return [line.plain.rstrip() for line in checklist(report, width=width, signs=signs)]


def test_a_narrow_terminal() -> None:
    assert drawn(REPORT, 52, SYMBOLS) == NARROW.splitlines()


def test_words_are_found_by_grep() -> None:
    lines = drawn(REPORT, 100, WORDS)
    assert [line.split()[1] for line in lines if line.startswith("  problem ")] == [
        "rights",
        "größe",
        "columns",
    ]
    assert '                   -> GRANT TEMP ON DATABASE "dwh" TO "app";' in lines


@pytest.mark.parametrize(
    ("items", "outcome", "line"),
    [
        ((), "complete", "A copy can start."),
        (REPORT.items[2:3], "complete", "A copy can start: 1 warning."),
        (REPORT.items[1:2], "complete", "A copy can't start: 1 problem."),
        (
            (),
            "timed out",
            "It is not known whether a copy can start: the check did not finish.",
        ),
    ],
)
def test_the_last_line(items: tuple[Finding, ...], outcome: Outcome, line: str) -> None:
    assert verdict(replace(REPORT, items=items, outcome=outcome)) == line


def test_nothing_to_copy_is_said() -> None:
    assert REPORT.plan is not None
    later = replace(REPORT, plan=replace(REPORT.plan, first_id=9000))
    assert any("none: the last one, 7500, is below the first" in t for t in drawn(later, 80, WORDS))
