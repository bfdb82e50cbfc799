"""Names are checked where they come in: nothing else reaches SQL, a path or a reference."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import UsageError
from asgard.common.names import (
    MAX_RUN_ID,
    TableName,
    audit_branch,
    check_reference,
    check_run_id,
    new_run_id,
    parse_audit_branch,
    run_id_time,
)


@pytest.mark.parametrize(
    "text",
    ["a", "a.b.c", "A.b", "a.B", "a.", ".b", "a.b`c", "a.b;drop", "a.b@c", "../a.b", "a.b/c", "a.b\n", "1.a", ""],
)
def test_what_is_no_table_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a table name"):
        TableName.parse(text)


@given(st.text())
def test_a_table_name_is_harmless_wherever_it_is_put(text: str) -> None:
    try:
        name = TableName.parse(text)
    except UsageError:
        return
    assert str(name) == text
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.")


@pytest.mark.parametrize(
    "text", ["a b", "a`b", "a..b", "deadbeef", "ABCDEF12", "a'", "", "-a", "a/", "HEAD", "a@b", "a#b"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a usable branch"):
        check_reference(text)


@pytest.mark.parametrize("text", ["main", "dev/anna", "release-1.2", "audit_20240131t000000-x_1"])
def test_references_are_taken(text: str) -> None:
    assert check_reference(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "20240131t000000",
        "20240131T000000-x",
        "20241331t000000-x",
        "20240131t000000-",
        "20240131t000000-" + "x" * 30,
        "20240131t000000-a_b",
        "20240131t000000-a/../b",
        "20240131t000000-x\n",
    ],
)
def test_what_is_no_run_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a usable run id"):
        check_run_id(text)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)))
def test_a_run_id_starts_with_its_time_and_names_its_branches(moment: datetime) -> None:
    run_id = check_run_id(new_run_id(moment.replace(tzinfo=UTC)))
    assert run_id_time(run_id) == moment.replace(microsecond=0, tzinfo=UTC)
    assert len(run_id) <= MAX_RUN_ID
    assert parse_audit_branch(check_reference(audit_branch(run_id, 7))) == (run_id, 7)
    assert parse_audit_branch("main") is None
