"""Which entities a run predicted: typed, and the words of tables written before 0.1."""

import pytest
from tests.support.prediction_requests import challenger, request

from asgard.model.batch.scope import Coverage, Scope, is_over_all, scope_columns

MADE = [
    request().scope,
    request().rest_scope,
    request(challenger=challenger()).scope,
    request(challenger=challenger()).rest_scope,
]


@pytest.mark.parametrize("scope", MADE, ids=str)
def test_words_and_columns_say_the_same_of_a_run_over_all(scope: Scope) -> None:
    assert scope.coverage is Coverage.ALL
    assert Scope.of_row({"scope": scope.text}) == scope
    assert Scope.of_row({"scope": scope.text, "coverage": None, "challenger": None, "completes": None}) == scope
    assert Scope.of_row(scope.columns) == scope


@pytest.mark.parametrize(
    "text",
    ["entities of all", "where a = 'all, challenger 1.0.0 0.1'", "top 5 by score", "allow", "all but 3", "", None],
)
def test_anything_else_is_about_some(text: str | None) -> None:
    assert Scope.of_row({"scope": text}).coverage is Coverage.SOME


def test_columns_count_and_words_beside_them_do_not() -> None:
    said = {"scope": "all, challenger 1.0.0 0.1", "coverage": "some", "challenger": None, "completes": False}
    assert Scope.of_row(said) == Scope(Coverage.SOME, text="all, challenger 1.0.0 0.1")
    assert scope_columns(["id", "scope"]) == ("scope",)
    assert scope_columns([*said, "id"]) == tuple(said)


def test_a_version_is_whole_only_if_nobody_challenged() -> None:
    assert [scope.is_whole for scope in MADE] == [True, True, False, False]
    assert not Scope(Coverage.SOME).is_whole


def test_a_key_of_an_older_table_that_has_a_newer_columns_name_says_nothing_of_the_scope() -> None:
    columns = ["policy_id", "coverage", "scope"]
    assert scope_columns(columns) == ("scope",)
    assert "coverage" not in is_over_all(columns)
    assert Scope.of_row({"policy_id": 1, "coverage": "fire", "scope": "all"}).coverage is Coverage.ALL
