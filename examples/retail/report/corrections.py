"""The report's content about the correction and the deletion: lookups before and after, and counts of the syncs."""

from collections.abc import Mapping, Sequence
from typing import Any

from asgard.local.demo.lookups import OnlineFacts, changes, sync_lines


def shown_corrections(facts: OnlineFacts) -> Mapping[str, Any]:
    """Values for the template of the section."""
    return {
        "facts": facts,
        "households": [
            {
                "title": f"Household {facts.corrected}: a receipt line was corrected from {facts.sales_before:,.2f} to "
                f"{facts.sales_after:,.2f} dollars",
                "note": "The row's event timestamp did not move; its values did.",
                "changes": changes(facts, facts.corrected),
            },
            {
                "title": f"Household {facts.erased} asked to be forgotten",
                "note": "Its rows were removed from the tables that the pipeline computes, and from Redis. The "
                "table of predictions keeps the rows of earlier runs.",
                "changes": changes(facts, facts.erased),
            },
        ],
        "syncs": _syncs(facts),
    }


def _syncs(facts: OnlineFacts) -> Sequence[Mapping[str, Any]]:
    titles = (("What the first sync wrote", facts.before), ("What the next sync wrote", facts.after))
    return [{"title": title, "lines": sync_lines(seen)} for title, seen in titles if seen is not None]
