"""Column names, and what a contract says about columns that come and go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import ContractError, InputDataError
from asgard.ingest.columns import FileColumns, TableColumns, all_columns, column_names
from asgard.ingest.own_columns import OWN
from asgard.lakehouse.declaring.declaration import Contract


class TestNames:
    @pytest.mark.parametrize(
        ("given", "names"),
        [
            (["id", "Name", "user_id"], ("id", "Name", "user_id")),
            (["Sales ($)", " first name ", "a.b-c"], ("Sales", "first_name", "a_b_c")),
            (["größe", "数量", "cafe\u0301"], ("größe", "数量", "café")),
            (["a", "a", "A", "a_2"], ("a", "a_2", "A_3", "a_2_2")),
            (["", " ", "??"], ("column_1", "column_2", "column_3")),
            (["2024", "1st"], ("column_2024", "column_1st")),
            (["_raw", "_RUN_ID", "_id"], ("_raw_", "_RUN_ID_", "_id")),
            (["a`; DROP TABLE x", "q\"u'o"], ("a_DROP_TABLE_x", "q_u_o")),
        ],
    )
    def test_examples(self, given: list[str], names: tuple[str, ...]) -> None:
        assert column_names(given) == names

    @given(st.lists(st.text(max_size=6)))
    def test_they_are_plain_and_different(self, given: list[str]) -> None:
        names = column_names(given)
        assert len({name.lower() for name in names}) == len(given)
        assert all(name.replace("_", "a").isalnum() and not name[0].isdigit() for name in names)
        assert not {name.lower() for name in names} & set(OWN)

    def test_the_table_has_the_last_word_on_spelling(self) -> None:
        known = TableColumns({"id": "int", "Sales ($)": "double", "full_name": "string"}, {"name": "full_name"})
        assert known.names_for(["ID", "Sales ($)", "NAME", "new one"]) == ("id", "Sales ($)", "full_name", "new_one")

    def test_two_columns_never_become_one(self) -> None:
        known = TableColumns({"id": "int"}, {"key": "id"})
        assert known.names_for(["id", "ID", "key"]) == ("id", "ID_2", "key")


def columns(known: TableColumns, *files: tuple[str, ...], allow_missing: bool = False) -> tuple[str, ...]:
    given = [FileColumns(f"{place}.csv", names) for place, names in enumerate(files)]
    return all_columns("bronze.x", known, given, allow_missing=allow_missing)


class TestContract:
    KNOWN = TableColumns({"id": "int", "name": "string"})

    def test_order_does_not_matter(self) -> None:
        assert columns(self.KNOWN, ("name", "id")) == ("id", "name")

    def test_a_later_file_may_bring_a_column(self) -> None:
        assert columns(self.KNOWN, ("id", "name"), ("id", "name", "age")) == ("id", "name", "age")
        assert columns(TableColumns(), ("id",), ("id", "age")) == ("id", "age")

    def test_a_dropped_column_is_refused(self) -> None:
        with pytest.raises(ContractError, match=r"1\.csv lacks name of bronze\.x\.") as caught:
            columns(self.KNOWN, ("id", "name"), ("id",))
        assert "--allow-missing" in caught.value.hint
        with pytest.raises(ContractError, match=r"1\.csv lacks age"):
            columns(TableColumns(), ("id", "age"), ("id",))

    def test_a_renamed_column_is_refused_and_says_both_names(self) -> None:
        with pytest.raises(ContractError, match=r"lacks name of bronze\.x, but has full_name, which the table lacks"):
            columns(self.KNOWN, ("id", "full_name"))

    def test_missing_ones_are_null_where_that_is_allowed(self) -> None:
        assert columns(self.KNOWN, ("id",), ("age",), allow_missing=True) == ("id", "name", "age")

    def test_a_frozen_contract_takes_no_column(self) -> None:
        frozen = TableColumns(self.KNOWN.types, contract=Contract.FROZEN)
        assert columns(frozen, ("id", "name")) == ("id", "name")
        with pytest.raises(ContractError, match="frozen"):
            columns(frozen, ("id", "name", "age"))

    def test_there_is_a_limit(self) -> None:
        with pytest.raises(InputDataError, match="would have 5,001 columns; at most 5,000 are allowed"):
            columns(TableColumns(), tuple(f"c{number}" for number in range(5001)))

    def test_many_columns_are_not_all_listed(self) -> None:
        known = TableColumns({f"c{number}": "int" for number in range(50)})
        with pytest.raises(ContractError, match="c9 and 40 more"):
            columns(known, ())
