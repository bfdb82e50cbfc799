"""Registrations: numbered, never changed, and what has one name may be of two kinds."""

from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from asgard.common.errors import ConflictError, ContractError
from asgard.common.names import CommitHash, SnapshotId, TableName
from asgard.common.storage import Storage
from asgard.lakehouse.catalog.registrations import Registration, Registrations, refuse_breaking

TABLE = TableName("gold", "metrics")


@pytest.fixture
def registrations(tmp_path: Path) -> Registrations:
    return Registrations(Storage(LocalFileSystem(), f"{tmp_path}/_asgard", local=True))


def state(kind: str, name: str, number: int = 1, **changes: object) -> Registration:
    plain = Registration(
        kind=kind,
        name=name,
        number=number,
        table=TABLE,
        columns={"amount": "double"},
        online=False,
        target="main",
        commit=CommitHash("c0ffee"),
        metadata_location="file:///m.json",
        snapshot_id=SnapshotId(1),
        declared={},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_view_and_a_model_may_have_one_name(registrations: Registrations) -> None:
    view, model = state("view", "churn"), state("model", "churn", columns={"visits": "int"})
    for each in (view, model):
        registrations.add(each)
    assert registrations.current("view") == {"churn": view}
    assert registrations.current("model") == {"churn": model}
    assert registrations.of_every_kind() == (model, view)
    registrations.add(replace(view, number=2, removed=True))
    assert registrations.current("view") == {}
    assert registrations.newest("view")["churn"].number == 2
    assert registrations.of_every_kind() == (model,)
    with pytest.raises(ContractError, match="would break model churn") as raised:
        refuse_breaking(registrations.of_every_kind(), {TABLE: {"amount": "double"}}, "main")
    assert raised.value.details == ("model churn reads gold.metrics: visits would be missing",)


def test_a_number_is_taken_once(registrations: Registrations) -> None:
    first = state("view", "churn")
    registrations.add(first)
    with pytest.raises(ConflictError, match="Another process registered view churn") as raised:
        registrations.add(replace(first, user="other"))
    assert raised.value.hint
    assert registrations.history("view", "churn") == [first]


def test_the_greatest_number_counts_not_the_last_name(registrations: Registrations) -> None:
    for number in range(1, 12):
        registrations.add(state("view", "churn", number))
    assert registrations.current("view")["churn"].number == 11
    assert [each.number for each in registrations.history("view", "churn")] == list(range(1, 12))
