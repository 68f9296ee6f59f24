"""A standby as the source: it knows what is open on its primary, once that was numbered."""

from __future__ import annotations

import pytest

from pipecopy.postgres import PostgresPool
from tests.operations.test_settle import Committer, as_list, transaction
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.runs import copy
from tests.support.servers import PostgresServer
from tests.support.standbys import Standby

pytestmark = pytest.mark.server

INSERT = "INSERT INTO profiles (data) VALUES ('1')"


@pytest.mark.timeout(90)
def test_a_standby_tells_of_what_is_open_on_its_primary(target_db: TemporaryDatabase) -> None:
    create_profiles(target_db)
    with PostgresServer(16) as primary, Standby(primary) as standby:
        source = TemporaryDatabase(primary, "postgres")
        pool = PostgresPool({"source": standby.uri(), "target": target_db.uri})
        create_profiles(source, 499)
        standby.catch_up()
        assert copy(pool).warnings == ()

        with transaction(source, INSERT) as late:
            source.execute(INSERT)  # its commit has what is not committed written too
            standby.catch_up()
            (warning,) = copy(pool).warnings
            assert "(at least one on the primary, by its transaction id (" in warning
            assert "rows with ids up to 501 may be missing" in warning
            committer = Committer(late, "COMMIT")
            assert copy(pool, settle=20, observer=committer).warnings == ()
            assert committer.waits == [(1, False), (0, True)]
            assert_equal_tables(source, target_db)

        # a session that has moved on to a standby does not take them for ended
        with (
            opened(source, "source") as before,
            opened(standby.uri(), "source") as after,
            transaction(source, INSERT),
        ):
            (seen,) = as_list(before.open_transactions())
            (unknown,) = as_list(after.open_transactions([seen["id"]]))
            assert unknown["id"] == seen["id"]

        # the one with the lower id got the greater number, which is beyond the snapshot's end
        with transaction(source, INSERT) as late, transaction(source, "SELECT 1") as other:
            late.execute("ROLLBACK")
            late.execute("BEGIN")
            late.execute("SELECT nextval('profiles_id_seq')")
            other.execute(INSERT)
            late.execute(INSERT)
            other.execute("COMMIT")
            standby.catch_up()
            (warning,) = copy(pool).warnings
            assert "(at least one on the primary, by its transaction id (" in warning
