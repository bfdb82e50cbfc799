"""The columns that ingest adds to those of a file or a database table."""

from asgard.lakehouse.runs import ledger_rows

RAW = "_raw"
"""map<string,string>: the text of each value that did not fit its column exactly; null if all values fit."""
CORRUPT = "_corrupt"
"""The text of a record that could not be parsed; its other columns are null."""
SOURCE_FILE = ledger_rows.SOURCE_FILE
"""The file's name as it was given, or the database table; without secrets."""
SOURCE_ROW = "_source_row"
"""The record's number in its file, from 1; blank lines and the header do not count. Null for JDBC."""
INGESTED_AT = "_ingested_at"
"""When the run began; the same moment for all its rows."""
RUN_ID = ledger_rows.RUN_ID

OWN = (RAW, CORRUPT, SOURCE_FILE, SOURCE_ROW, INGESTED_AT, RUN_ID)
