"""Gates: what is said of one that fails, gives no reason, or can't be imported."""

import sys
from pathlib import Path
from typing import Any

import pytest

from asgard.common.errors import UsageError
from asgard.model.gates import BUILT_IN, Gate, PromotionFacts, PromotionRefusedError, load_gate, require_all
from asgard.model.lifecycle import Stage, Version
from asgard.model.versions import Binding


def facts() -> PromotionFacts:
    return PromotionFacts("churn", Version(1, 0, 0), Stage.STAGING, Binding(), {}, None)


def refused(*gates: Gate) -> tuple[str, ...]:
    with pytest.raises(PromotionRefusedError, match="nothing was moved") as caught:
        require_all(gates, facts())
    return caught.value.details


class TestGates:
    def test_one_that_fails_refuses_by_its_name(self) -> None:
        def drift_is_small(given: PromotionFacts) -> str | None:
            return "drifted" if given.binding.details["drift"] > 0.2 else None

        def fine(_given: PromotionFacts) -> str | None:
            return None

        def stale(_given: PromotionFacts) -> str | None:
            return "too old"

        (failed, said) = refused(drift_is_small, fine, stale, *BUILT_IN)
        line = drift_is_small.__code__.co_firstlineno + 1
        assert failed == f"drift is small: the gate raised KeyError: 'drift' ({__file__}, line {line})"
        assert said == "stale: too old"

    @pytest.mark.parametrize("gave", [True, False, 0, "", ("a",)])
    def test_one_that_gives_no_reason_refuses(self, gave: Any) -> None:
        def odd(_given: PromotionFacts) -> str | None:
            return gave  # type: ignore[no-any-return]

        assert refused(odd) == (f"odd: the gate returned {gave!r}; expected the reason to refuse as text, or None",)

    def test_one_that_takes_something_else_refuses(self) -> None:
        class Strict:
            def __call__(self) -> str | None:
                return None

        (said,) = refused(Strict())  # type: ignore[arg-type]
        assert said.startswith("Strict: the gate raised TypeError: ")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("raise RuntimeError('no database')", "can't be imported: RuntimeError: no database"),
            ("def gate(:", "can't be imported: SyntaxError"),
            ("import nowhere_at_all", "There is no gate"),
        ],
    )
    def test_a_module_that_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str, request: pytest.FixtureRequest
    ) -> None:
        module = f"gates_{abs(hash(request.node.nodeid)):x}"
        (tmp_path / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        with pytest.raises(UsageError, match=said) as caught:
            load_gate(f"{module}:gate")
        assert module in caught.value.message
