"""Both retail pipelines as declared: they load by every name, and keep to the conventions."""

import re

import pytest

from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.lakehouse.declaring.pipeline import Pipeline
from examples.retail.churn import churn
from examples.retail.journey import retail


@pytest.mark.parametrize("reference", ["examples/retail", "examples.retail", "examples/retail/journey.py"])
def test_retail_by_every_name(reference: str) -> None:
    assert load_pipeline(reference) is retail


@pytest.mark.parametrize("reference", ["examples/retail/churn.py", "examples.retail.churn"])
def test_churn_by_every_name(reference: str) -> None:
    assert load_pipeline(reference) is churn


def test_both_fit_in_one_warehouse() -> None:
    assert not set(retail.tables) & set(churn.tables)


@pytest.mark.parametrize("pipeline", [retail, churn], ids=lambda pipeline: pipeline.name)
class TestConventions:
    def test_sources_are_bronze_and_silver_is_cleaned(self, pipeline: Pipeline) -> None:
        for table in pipeline.in_order():
            assert (table.function is None) == (table.name.layer == "bronze")
            assert (table.name.layer == "silver") == table.name.name.endswith("_cleaned")

    def test_each_table_says_what_it_is_and_is_checked(self, pipeline: Pipeline) -> None:
        for table in pipeline.in_order():
            assert table.owner
            assert table.keys
            assert len(table.description) > 20
            checked = {(check.kind, check.columns) for check in table.checks}
            for key in set(table.keys) - {"event_timestamp", "month"}:
                assert ("not_null", (key,)) in checked, f"{table.name}: {key}"

    def test_keys_are_unique_beyond_bronze(self, pipeline: Pipeline) -> None:
        for table in pipeline.in_order():
            if table.name.layer != "bronze":
                assert any(check.kind == "unique" and set(check.columns) == set(table.keys) for check in table.checks)

    def test_tables_that_checks_read_are_declared(self, pipeline: Pipeline) -> None:
        read = {name for table in pipeline.in_order() for check in table.checks for name in check.reads}
        assert read <= set(map(str, pipeline.tables))

    def test_what_is_missing_can_be_told(self, pipeline: Pipeline) -> None:
        for table in pipeline.in_order():
            if table.interval:
                assert table.start is not None
                assert table.end is not None
                unit = table.interval.unit
                assert (unit.floor(table.start), unit.floor(table.end)) == (table.start, table.end)

    def test_consumers_that_are_tables_read_it(self, pipeline: Pipeline) -> None:
        for table in pipeline.in_order():
            for consumer in table.consumers:
                if re.fullmatch(r"\w+\.\w+", consumer):
                    assert table.name in pipeline[consumer].inputs.values(), f"{consumer} does not read {table.name}"


def test_the_feature_tables_have_the_same_columns_to_rely_on() -> None:
    real, made = retail["gold.customer_metrics"], churn["gold.churn_customer_metrics"]
    assert real.keys == made.keys == ("customer_id", "event_timestamp")
