"""The table is altered while it is copied, on either side: no row is missed, altered or doubled.

A statement that changes nothing that matters lets the copy go on; any other one ends it with the
error that says what changed. Each strikes at exact moments, and some at random ones as well.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecopy.contracts import Side
from tests.faults.alt import (
    AS_NESTED_VIEW,
    AS_VIEW,
    BATCH,
    INHERITED,
    KEYLESS,
    PARTITIONED,
    STATEMENTS,
    Case,
    Outcome,
    altering,
    check_changed,
    check_claim,
    check_complete,
    copy_and_check,
    make,
    rows_in,
    strike,
)
from tests.faults.faulty import Alteration, Moment
from tests.support.checks import Tables, run_copy

pytestmark = pytest.mark.server

REWRITE = "ALTER TABLE alt ADD u uuid DEFAULT gen_random_uuid()"
REFILL = "TRUNCATE alt; INSERT INTO alt SELECT * FROM alt_new"
SWAP = "ALTER TABLE alt RENAME TO alt_old; ALTER TABLE alt_new RENAME TO alt"
RECREATE = "DROP TABLE alt; CREATE TABLE alt (LIKE alt_new INCLUDING ALL)"
TO_REAL = "ALTER TABLE alt ALTER a TYPE real"
TO_FLOAT8 = "ALTER TABLE alt ALTER c TYPE float8"
TO_BIGINT = "ALTER TABLE alt ALTER a TYPE bigint"
ANOTHER_COLUMN = "ALTER TABLE alt DROP a; ALTER TABLE alt ADD a real DEFAULT 1"
RENAMED_COLUMN = "ALTER TABLE alt RENAME a TO b"
GENERATED = "ALTER TABLE alt DROP a; ALTER TABLE alt ADD a int GENERATED ALWAYS AS (7) STORED"
IDENTITY = "ALTER TABLE alt ALTER id ADD GENERATED ALWAYS AS IDENTITY"
HIDDEN = "CREATE POLICY few ON alt USING (id < 200); ALTER TABLE alt ENABLE ROW LEVEL SECURITY"
UNLOGGED = "ALTER TABLE alt SET UNLOGGED"
DETACH = "ALTER TABLE alt DETACH PARTITION p2"
DROP_PARTITION = "DROP TABLE p2"
NEW_PARTITION = "CREATE TABLE p5 PARTITION OF alt FOR VALUES FROM (2000) TO (3000)"
ATTACH_LATER = "ALTER TABLE alt ATTACH PARTITION p4 FOR VALUES FROM (2000) TO (3000)"
ATTACH_EARLIER = "ALTER TABLE alt ATTACH PARTITION p1 FOR VALUES FROM (MINVALUE) TO (200)"
OTHER_SCHEMA = "CREATE SCHEMA other; CREATE TABLE other.alt AS TABLE alt_new"
SWAP_SCHEMAS = "ALTER SCHEMA public RENAME TO was; ALTER SCHEMA other RENAME TO public"
TRIGGER = (
    "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN IF NEW.id % 4 = 0 THEN RETURN NULL; END IF; NEW.a := 0; RETURN NEW; END';"
    " CREATE TRIGGER odd BEFORE INSERT OR UPDATE ON alt FOR EACH ROW EXECUTE FUNCTION odd()"
)
RULE = "CREATE RULE nothing AS ON INSERT TO alt DO INSTEAD NOTHING"
KEYED = "ALTER TABLE alt ADD CONSTRAINT alt_pkey PRIMARY KEY (id)"
FAILED_INDEX = "CREATE UNIQUE INDEX CONCURRENTLY broken ON alt (id)"
INVALID_INDEX = (
    "UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = 'alt_pkey'::regclass"
)
"""What a failed REINDEX of old left, or a failed CREATE INDEX CONCURRENTLY of the index in use."""


_BEFORE: tuple[Moment, ...] = ("before",)
_REPLACED: tuple[Moment, ...] = ("replaced",)
_HUNG: tuple[Moment, ...] = ("hung",)
_TWICE: tuple[Moment, ...] = ("waits", "hung")
_EACH: tuple[Moment, ...] = ("waits", "replaced", "hung")


def _source(sql: str, outcome: Outcome, *words: str, **how: object) -> Case:
    return Case(side="source", sql=sql, outcome=outcome, words=words, **how)  # type: ignore[arg-type] # as below


def _target(sql: str, outcome: Outcome, *words: str, **how: object) -> Case:
    return Case(side="target", sql=sql, outcome=outcome, words=words, **how)  # type: ignore[arg-type] # a Case's own


CASES = {
    # the table
    "rewritten": _source(REWRITE, "complete", moments=_EACH),
    "refilled": _source(REFILL, "complete"),
    "int to real": _source(TO_REAL, "changed", "a", moments=_EACH),
    "bigint to float8": _source(TO_FLOAT8, "changed", "c"),
    "another column of that name": _source(ANOTHER_COLUMN, "changed", "a"),
    "int to bigint": _source(TO_BIGINT, "changed", "a", moments=_BEFORE),
    # on the source
    "swapped": _source(SWAP, "changed", "alt"),
    "schemas swapped": _source(
        SWAP_SCHEMAS, "changed", "alt", source=OTHER_SCHEMA, moments=_BEFORE
    ),
    "created again": _source(f"{RECREATE}; {REFILL}", "changed", "alt", moments=_REPLACED),
    "dropped": _source("DROP TABLE alt", "changed", "alt"),
    "moved": _source("CREATE SCHEMA x; ALTER TABLE alt SET SCHEMA x", "changed", "alt"),
    "renamed and back": _source(
        "ALTER TABLE alt RENAME TO x; ALTER TABLE x RENAME TO alt", "either"
    ),
    "column renamed": _source(RENAMED_COLUMN, "changed", "a"),
    "column generated": _source(GENERATED, "changed", "a"),
    "key an identity": _source(IDENTITY, "either"),
    "key's index dropped": _source(KEYLESS, "either"),
    "rows hidden": _source(
        HIDDEN, "changed", "row-level security", user="plain", moments=("waits", "replaced")
    ),
    "view replaced": _source(
        "CREATE OR REPLACE VIEW alt AS SELECT id, a + 1 AS a, c, t FROM alt_rows",
        "changed",
        "alt",
        source=AS_VIEW,
    ),
    "view below replaced": _source(
        "CREATE OR REPLACE VIEW inside AS SELECT id, a, c, t FROM alt_rows WHERE id < 400",
        "changed",
        "inside",
        source=AS_NESTED_VIEW,
        moments=("waits", "replaced"),
    ),
    "table below rewritten": _source(
        "ALTER TABLE alt_rows ADD u uuid DEFAULT gen_random_uuid()",
        "complete",
        source=AS_NESTED_VIEW,
    ),
    "partition detached": _source(DETACH, "changed", "p2", source=PARTITIONED),
    "partition dropped": _source(DROP_PARTITION, "changed", "p2", source=PARTITIONED),
    "partition made": _source(
        NEW_PARTITION, "complete", source=PARTITIONED, moments=("waits", "replaced")
    ),
    "partition made that the role may not read by itself": _source(
        NEW_PARTITION, "complete", source=PARTITIONED, user="plain"
    ),
    "partition of greater ids attached": _source(
        ATTACH_LATER, "complete", source=PARTITIONED, moments=_BEFORE
    ),
    "partition of lower ids attached": _source(
        ATTACH_EARLIER,
        "changed",
        "p1",
        source=f"{PARTITIONED}; ALTER TABLE alt DETACH PARTITION p1",
        moments=("before", "replaced"),
    ),
    "partition refilled": _source(
        "CREATE TABLE kept AS TABLE p2; TRUNCATE p2; INSERT INTO p2 TABLE kept",
        "complete",
        source=PARTITIONED,
    ),
    "child refilled": _source(
        "CREATE TABLE kept AS TABLE child; TRUNCATE child; INSERT INTO child TABLE kept",
        "complete",
        source=INHERITED,
    ),
    "child gone": _source(
        "ALTER TABLE child NO INHERIT alt", "changed", "child", source=INHERITED, moments=_BEFORE
    ),
    # on the target
    "to float8": _target(TO_FLOAT8, "changed", "c", moments=_TWICE),
    "exchanged": _target(SWAP, "changed", "alt", moments=_EACH),
    "schemas exchanged": _target(
        SWAP_SCHEMAS, "changed", "alt", target=OTHER_SCHEMA, moments=_BEFORE
    ),
    "recreated": _target(RECREATE, "changed", "alt", moments=_REPLACED),
    "removed": _target("DROP TABLE alt", "changed", "alt"),
    "a column generated": _target(GENERATED, "changed", "a"),
    "the key an identity": _target(IDENTITY, "either"),
    "unique index dropped": _target(KEYLESS, "either", moments=_EACH),
    "unique index made": _target(KEYED, "either", target=KEYLESS, moments=_TWICE),
    "unique index invalid": _target(INVALID_INDEX, "either", moments=_HUNG),
    "unique index failed": _target(
        FAILED_INDEX,
        "either",
        target=f"{KEYLESS}; INSERT INTO alt VALUES (5000, 1, 1, ''), (5000, 1, 1, '')",
        moments=_HUNG,
    ),
    "another unique index made": _target("CREATE UNIQUE INDEX ON alt (t)", "either"),
    "rows refused": _target(
        HIDDEN, "changed", "row-level security", user="plain", moments=_REPLACED
    ),
    "trigger made": _target(TRIGGER, "changed", "odd"),
    "rule made": _target(RULE, "changed", "nothing", moments=_REPLACED),
    "made unlogged": _target(UNLOGGED, "either"),
    "a partition detached": _target(DETACH, "changed", "p2", target=PARTITIONED),
    "a partition dropped": _target(DROP_PARTITION, "changed", "p2", target=PARTITIONED),
    "a partition made": _target(NEW_PARTITION, "complete", target=PARTITIONED),
}

_DESCRIBED = """
    ANALYZE alt;
    CREATE INDEX ON alt (a);
    COMMENT ON TABLE alt IS 'mine';
    COMMENT ON COLUMN alt.a IS 'mine';
    GRANT SELECT ON alt TO plain;
    ALTER TABLE alt SET (fillfactor = 50)
"""
HARMLESS: dict[str, tuple[str, Moment]] = {
    "vacuumed": ("VACUUM FULL alt", "before"),
    "clustered": ("CLUSTER alt USING alt_pkey", "waits"),
    "index rebuilt": ("REINDEX TABLE alt", "waits"),
    "index replaced": ("REINDEX TABLE CONCURRENTLY alt", "before"),
    "index made": ("CREATE INDEX CONCURRENTLY ON alt (a)", "before"),
    "described": (_DESCRIBED, "before"),
    "column added": ("ALTER TABLE alt ADD more int", "waits"),
    "column added and dropped": (
        "ALTER TABLE alt ADD more int DEFAULT 3 NOT NULL; ALTER TABLE alt DROP more",
        "waits",
    ),
}


@pytest.fixture
def tables(alt_tables: Tables) -> Tables:
    return Tables(source=alt_tables.source, target=alt_tables.target)


_STRUCK = {
    f"{case.side}: {name}, {moment}": (case, moment)
    for name, case in CASES.items()
    for moment in case.moments
}


@pytest.mark.parametrize(("case", "moment"), _STRUCK.values(), ids=_STRUCK)
def test_the_copy_is_right_or_says_what_changed(
    case: Case, moment: Moment, tables: Tables, tmp_path: Path
) -> None:
    copy_and_check(case, moment, tables, tmp_path)


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(("sql", "moment"), HARMLESS.values(), ids=HARMLESS)
def test_what_does_not_matter_changes_nothing(
    sql: str, moment: Moment, side: Side, tables: Tables, tmp_path: Path
) -> None:
    copy_and_check(Case(side=side, sql=sql, outcome="complete"), moment, tables, tmp_path)


# -- the other calls


@pytest.mark.parametrize("sql", [REWRITE, REFILL])
def test_a_rewritten_table_is_whole_for_get_max_id(
    sql: str, tables: Tables, tmp_path: Path
) -> None:
    make(tables)
    before = rows_in(tables, "source")
    alteration = Alteration(side="source", sql=sql, call="get_max_id")
    pool = altering(tables, alteration, tmp_path)
    ended = run_copy(pool, batch_size=BATCH, call_timeout=10)
    assert pool.waited_for.exists()
    assert ended.error is None, ended.message
    check_complete(tables, before)


@pytest.mark.parametrize("sql", [SWAP, TO_REAL])
def test_an_altered_table_is_told_by_get_max_id(sql: str, tables: Tables, tmp_path: Path) -> None:
    make(tables)
    before = rows_in(tables, "source")
    alteration = Alteration(side="source", sql=sql, call="get_max_id")
    ended = run_copy(altering(tables, alteration, tmp_path), batch_size=BATCH, call_timeout=10)
    check_changed(ended, "source")
    check_claim(ended, tables, before)


@pytest.mark.parametrize(
    ("sql", "moment"),
    [(SWAP, "before"), (RECREATE, "replaced"), ("DROP TABLE alt", "before")],
    ids=["exchanged", "recreated", "removed"],
)
def test_what_happens_after_the_last_save_is_no_mere_warning(
    sql: str, moment: Moment, tables: Tables, tmp_path: Path
) -> None:
    make(tables)
    before = rows_in(tables, "source")
    alteration = Alteration(side="target", sql=sql, call="finish", moment=moment)
    ended = run_copy(altering(tables, alteration, tmp_path), batch_size=BATCH, call_timeout=10)
    check_changed(ended, "target")
    check_claim(ended, tables, before)


# -- at random moments; `python -m bench.soak.ddl` has more

_SEED = 9
_MOMENTS = 4


@pytest.mark.parametrize("name", STATEMENTS)
def test_at_random_moments_no_row_is_missed_or_altered(name: str, alt_tables: Tables) -> None:
    for moment in range(_MOMENTS):
        seed = f"{_SEED} {moment}"
        print(f"seed {seed}")  # noqa: T201 - pytest shows it where this fails
        strike(alt_tables, name, seed)
