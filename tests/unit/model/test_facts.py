"""A version's facts, as MLflow's tags say them, and their digest in the ledger."""

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgard.common.errors import ArtifactError, UsageError
from asgard.model.ledger.ledger_run import decode, encode
from asgard.model.ledger.registered import RegisteredModel, require_intact, version_of
from asgard.model.lifecycle import Ledger, Stage, TransitionKind, Version
from asgard.model.versions import BINDING, METRICS, Binding, facts_sha256, facts_tags

V1 = Version(1, 0, 0)
BOUND = Binding(code_version="c0de", minimum={"roc_auc": 0.7}, details={"rows": 3})
TEXTS = st.one_of(st.none(), st.text(max_size=5))


def tags_of(binding: str | None, metrics: str | None) -> dict[str, str]:
    given = {BINDING: binding, METRICS: metrics, "feature.table": "gold.t"}
    return {name: value for name, value in given.items() if value is not None}


def registered(facts: str) -> Ledger:
    entry = Ledger().propose(
        TransitionKind.REGISTER,
        V1,
        Stage.NONE,
        who="ann",
        when="2024-01-01T00:00:00+00:00",
        mlflow_version="4",
        sha256="a",
        facts_sha256=facts,
    )
    return Ledger.of([decode(1, encode(entry))])


class TestDigest:
    @given(TEXTS, TEXTS, TEXTS, TEXTS)
    @example("ab", "c", "a", "bc")
    @example(None, "", "", None)
    @example("", None, None, None)
    @example("null", None, None, None)
    def test_equal_only_for_equal_texts(self, b1: str | None, m1: str | None, b2: str | None, m2: str | None) -> None:
        one, other = facts_sha256(tags_of(b1, m1)), facts_sha256(tags_of(b2, m2))
        assert (one == other) == ((b1, m1) == (b2, m2))

    def test_tags_for_people_do_not_count(self) -> None:
        tags = facts_tags(BOUND, {"roc_auc": 0.8})
        assert facts_sha256({**tags, "feature.table": "gold.other"}) == facts_sha256(tags)

    def test_what_was_registered_is_believed(self) -> None:
        tags = facts_tags(BOUND, {"roc_auc": 0.8})
        found = version_of("churn", V1, registered(facts_sha256(tags)), "r", tags)
        assert (found.binding, found.metrics, found.problem) == (BOUND, {"roc_auc": 0.8}, "")
        assert found.binding.minimum == {"roc_auc": 0.7}
        assert require_intact(found) is found

    @pytest.mark.parametrize(
        "change",
        [
            lambda tags: tags | {METRICS: json.dumps({"roc_auc": 0.9})},
            lambda tags: tags | {METRICS: tags[METRICS] + " "},
            lambda tags: tags | {BINDING: tags[BINDING].replace("0.7", "0.1")},
            lambda tags: {name: value for name, value in tags.items() if name != BINDING},
            lambda tags: tags | {BINDING: "{", METRICS: "{"},
        ],
    )
    def test_nothing_of_what_was_edited_is_believed(self, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        tags = facts_tags(BOUND, {"roc_auc": 0.8})
        found = version_of("churn", V1, registered(facts_sha256(tags)), "r", change(tags))
        assert (found.binding, found.metrics) == (Binding(), {})
        with pytest.raises(ArtifactError, match=r"churn@1\.0\.0 differ from those .*\nhint: .*version 4 in MLflow"):
            require_intact(found)

    def test_a_ledger_without_a_digest_vouches_for_nothing(self) -> None:
        raw = json.loads(encode(registered("").transitions[0]))
        del raw["facts_sha256"]
        ledger = Ledger.of([decode(1, json.dumps(raw))])
        assert version_of("churn", V1, ledger, "r", facts_tags(BOUND, {})).problem
        assert version_of("churn", V1, ledger, "r", {}).problem

    def test_what_a_newer_asgard_registered_is_said(self) -> None:
        tags = facts_tags(BOUND, {})
        tags[BINDING] = json.dumps({"novelty": 1})
        found = version_of("churn", V1, registered(facts_sha256(tags)), "r", tags)
        assert "a newer Asgard may have registered it" in found.problem

    def test_a_damaged_version_is_looked_at_and_never_chosen(self) -> None:
        ledger = registered("f")
        model = RegisteredModel("churn", ledger, (), (version_of("churn", V1, ledger, "r", {}),))
        for what in ("", "latest", "1.0.0", "none"):
            assert model.look(what).version == V1
            with pytest.raises(ArtifactError):
                model.choose(what)
        with pytest.raises(UsageError, match=r"no version 2\.0\.0.\nhint: Existing versions: 1\.0\.0"):
            model.look("2.0.0")
