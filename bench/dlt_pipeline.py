"""One copy by dlt: `dlt_pipeline.py SOURCE TARGET ROWS` prints its seconds last.

A script by itself, since dlt takes over signals and threads of its process.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

# before dlt is imported: it reads them then
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt
from dlt.sources.sql_database import sql_table


def main(source: str, target: str, rows: int) -> None:
    def first_rows(query: Any, table: Any) -> Any:
        return query.where(table.c.id <= rows)

    began = time.monotonic()
    profiles = sql_table(
        credentials=source.replace("postgresql:", "postgresql+psycopg2:"),
        table="profiles",
        schema="public",
        backend="pyarrow",
        query_adapter_callback=first_rows,
    )
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        destination=dlt.destinations.postgres(target),
        dataset_name="public",
        pipelines_dir="dlt",  # in the folder that it was started in
    )
    pipeline.run(
        profiles, table_name="profiles", write_disposition="append", loader_file_format="csv"
    )
    print(time.monotonic() - began)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
