"""Declarations of features: views of gold tables, and functions over them that run on demand."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from asgard.common import arguments
from asgard.common.arguments import constructor, declares, optional
from asgard.common.errors import DeclarationError, UsageError
from asgard.common.names import TableName, check_identifier
from asgard.features.types import check_type

if TYPE_CHECKING:
    import pandas as pd

    from asgard.lakehouse.declaring.pipeline import Pipeline

_DURATION = re.compile(r"(\d+)\s*(s|m|h|d|w)")
_LONGEST_TTL = timedelta(days=3_650_000)
"""Longer ones fit neither Feast nor the 64-bit microseconds in which engines compute."""
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Codec(StrEnum):
    """How an online store keeps a view's rows: one compact value per entity, or Feast's own layout."""

    PACKED = "packed"
    FEAST = "feast"


@constructor(
    "Feature {name}",
    name=arguments.text("'total'", blank=False),
    type=arguments.text("'double'", blank=False),
    description=arguments.text("'of all purchases'"),
)
@dataclass(frozen=True)
class Feature:
    """One feature: a column of the view's table.

    Attributes:
        name: the column.
        type: its type, as Spark SQL says it, e.g. `bigint`, `double`, `decimal(10,2)`, `array<string>`.
        description: for people.
    """

    name: str
    type: str
    description: str = ""

    def __post_init__(self) -> None:
        check_identifier(self.name, "feature name")
        object.__setattr__(self, "type", check_type(self.type, f"Feature {self.name}"))


@dataclass(frozen=True)
class FeatureView:
    """Features of one entity, read from one gold table without a copy.

    Attributes:
        name: unique in its pipeline.
        table: the gold table.
        keys: the columns that together name an entity.
        features: in order.
        event_timestamp: column with the moment that a row describes; a row counts for labels from then on.
        created_timestamp: column with the moment at which a row could first be known, if that may be later:
            the row does not count for labels before it. It also decides between rows with the same event timestamp.
        tie_break: column that decides, by its greater value, between rows of equal timestamps.
        ttl: how long a row counts after its event timestamp, both ends included; None: for ever.
        online: whether the view is kept in the online store.
        codec: how it is kept there.
        owner, description, tags: for people.
        version: increased when the meaning of a feature changes.
        model: the model whose predictions they are, from a table of `asgard batch-predict`; "" for features.
    """

    name: str
    table: TableName
    keys: tuple[str, ...]
    features: tuple[Feature, ...]
    event_timestamp: str = "event_timestamp"
    created_timestamp: str | None = None
    tie_break: str | None = None
    ttl: timedelta | None = None
    online: bool = False
    codec: Codec = Codec.PACKED
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    version: int = 1
    model: str = ""

    @property
    def time_columns(self) -> tuple[str, ...]:
        """The event timestamp and, where there is one, the created timestamp."""
        return (self.event_timestamp, *((self.created_timestamp,) if self.created_timestamp else ()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the view reads, each once."""
        tie = (self.tie_break,) if self.tie_break else ()
        return tuple(dict.fromkeys((*self.keys, *self.time_columns, *tie, *self.feature_names)))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(feature.name for feature in self.features)

    def to_json(self) -> dict[str, Any]:
        """Plain values, which `from_json` reads."""
        return {
            "name": self.name,
            "table": str(self.table),
            "keys": list(self.keys),
            "features": [
                {"name": each.name, "type": each.type, "description": each.description} for each in self.features
            ],
            "event_timestamp": self.event_timestamp,
            "created_timestamp": self.created_timestamp,
            "tie_break": self.tie_break,
            "ttl_seconds": self.ttl.total_seconds() if self.ttl is not None else None,
            "online": self.online,
            "codec": str(self.codec),
            "owner": self.owner,
            "description": self.description,
            "tags": list(self.tags),
            "version": self.version,
            **({"model": self.model} if self.model else {}),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "FeatureView":
        """Read what `to_json` returned."""
        view = feature_view(
            raw["name"],
            table=raw["table"],
            keys=raw["keys"],
            features=[Feature(each["name"], each["type"], each["description"]) for each in raw["features"]],
            event_timestamp=raw["event_timestamp"],
            created_timestamp=raw["created_timestamp"],
            tie_break=raw["tie_break"],
            ttl=timedelta(seconds=raw["ttl_seconds"]) if raw["ttl_seconds"] is not None else None,
            online=raw["online"],
            codec=raw["codec"],
            owner=raw["owner"],
            description=raw["description"],
            tags=raw["tags"],
            version=raw["version"],
        )
        return replace(view, model=raw.get("model", ""))


@runtime_checkable
class DerivedView(Protocol):
    """A view that is partly derived from other views of its pipeline."""

    @property
    def name(self) -> str:
        """Unique in its pipeline."""

    def derived(self, views: Mapping[str, FeatureView]) -> FeatureView:
        """The view, given the pipeline's other views by name."""


SHARED = {
    "ttl": optional(arguments.DURATION),
    "online": arguments.FLAG,
    "codec": arguments.one_of(Codec, "'packed'"),
    "owner": arguments.text("'data-team'"),
    "description": arguments.text("'What is known of a customer.'"),
    "tags": arguments.names("('pii',)"),
    "version": arguments.WHOLE,
}
"""Arguments of any view, also of a view of predictions."""


@declares(
    "Feature view {name}",
    SHARED,
    name=arguments.text("'customer_metrics'"),
    table=arguments.text("'gold.customer_metrics'"),
    keys=arguments.names("('customer_id',)"),
    features=arguments.several(Feature, "a list of features", "[Feature('total', 'double')]"),
    event_timestamp=arguments.text("'event_timestamp'", blank=False),
    created_timestamp=optional(arguments.text("'created_at'", blank=False)),
    tie_break=optional(arguments.text("'purchase_id'", blank=False)),
)
def feature_view(
    name: str,
    *,
    table: str,
    keys: Sequence[str],
    features: Iterable[Feature],
    event_timestamp: str = "event_timestamp",
    created_timestamp: str | None = None,
    tie_break: str | None = None,
    ttl: timedelta | str | None = None,
    online: bool = False,
    codec: str = Codec.PACKED,
    owner: str = "",
    description: str = "",
    tags: Sequence[str] = (),
    version: int = 1,
) -> FeatureView:
    """Check a declaration and create its `FeatureView`; see that class for the meaning of each argument.

    Args:
        ttl: a timedelta, or a text such as `90d`, `12h`, `30m`.

    Raises:
        DeclarationError: the declaration can't work; the message names the view and what to change.
    """

    def refuse(what: str, hint: str) -> DeclarationError:
        return DeclarationError(f"Feature view {name}: {what}", hint=hint)

    view = FeatureView(
        name=check_identifier(name, "name of a feature view"),
        table=TableName.parse(table),
        keys=tuple(keys),
        features=tuple(features),
        event_timestamp=event_timestamp,
        created_timestamp=created_timestamp,
        tie_break=tie_break,
        ttl=parse_ttl(ttl, name),
        online=online,
        codec=Codec(codec),
        owner=owner,
        description=description,
        tags=tuple(tags),
        version=version,
    )
    if not view.keys:
        raise refuse("it has no keys.", "Name the columns of its entity: keys=('customer_id',).")
    if not view.features:
        raise refuse("it has no features.", "Name columns of its table: features=[Feature('total', 'double')].")
    if version < 1:
        raise refuse(f"version is {version}.", "Versions count from 1.")
    taken = [*view.keys, *view.time_columns]
    twice = sorted({each for each in (*taken, *view.feature_names) if [*taken, *view.feature_names].count(each) > 1})
    if twice:
        raise refuse(f"{', '.join(twice)} is named more than once.", "A column is a key, a timestamp or one feature.")
    return view


def parse_ttl(ttl: timedelta | str | None, name: str) -> timedelta | None:
    """Parse a ttl.

    Raises:
        DeclarationError: it is not a duration, not positive, or longer than 10,000 years.
    """
    if isinstance(ttl, str):
        match = _DURATION.fullmatch(ttl.strip())
        if match is None:
            raise DeclarationError(
                f"Feature view {name}: ttl {ttl!r} is not a duration.", hint="E.g. '90d', '12h', '30m', or a timedelta."
            )
        seconds = int(match[1]) * _SECONDS[match[2]]
        ttl = timedelta(seconds=min(seconds, _LONGEST_TTL.total_seconds() + 1))
    if ttl is not None and ttl > _LONGEST_TTL:
        raise DeclarationError(
            f"Feature view {name}: ttl is longer than 10,000 years.", hint="Leave it out for rows that never expire."
        )
    if ttl is not None and ttl <= timedelta():
        raise DeclarationError(
            f"Feature view {name}: ttl must be positive, but is {ttl}.", hint="Leave it out for rows that never expire."
        )
    return ttl


def lasting(ttl: timedelta | None) -> str:
    """How long a row counts: 14 days, 12 hours, for ever."""
    if ttl is None:
        return "for ever"
    total = ttl.total_seconds()
    unit, length = next(
        (unit, length) for unit, length in (("day", 86_400), ("hour", 3_600), ("second", 1)) if total % length == 0
    )
    count = int(total // length)
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class OnDemandFeature:
    """A pure function of features and of a request's values, computed when a row is requested.

    The same function serves training sets, batches and lookups: it takes one pandas Series for each of its
    parameters and returns one of the same length.

    Attributes:
        name: of the feature; unique among the columns of a training set.
        function: parameters named as in `inputs` and `request`.
        inputs: parameter -> `view:feature`.
        request: parameter -> type, of values that come with a label or a lookup and are in no view.
        type: of the result, as Spark SQL says it.
    """

    name: str
    function: "Callable[..., pd.Series[Any]]" = field(hash=False)
    inputs: Mapping[str, str] = field(hash=False)
    request: Mapping[str, str] = field(hash=False)
    type: str = "double"
    description: str = ""

    @property
    def table(self) -> None:
        """None: it reads views, not a table."""
        return

    @property
    def views(self) -> tuple[str, ...]:
        """The views that it needs."""
        return tuple(dict.fromkeys(reference.partition(":")[0] for reference in self.inputs.values()))


@declares(
    "on_demand",
    inputs=arguments.texts_by_name("{'total': 'customer_metrics:total'}"),
    request=optional(arguments.texts_by_name("{'amount': 'double'}")),
    type=arguments.text("'double'", blank=False),
)
def on_demand(
    *, inputs: Mapping[str, str], request: Mapping[str, str] | None = None, type: str = "double"
) -> "Callable[[Callable[..., pd.Series[Any]]], OnDemandFeature]":
    """Declare the decorated function as an on-demand feature; see `OnDemandFeature` for the arguments.

    Raises:
        DeclarationError: parameters and inputs differ, or an input is not `view:feature`.
    """

    @declares(
        "On-demand feature",
        function=arguments.function("a function of pandas Series", "a function with one parameter for each input"),
    )
    def declare(function: "Callable[..., pd.Series[Any]]") -> OnDemandFeature:
        name = check_identifier(getattr(function, "__name__", ""), "feature name")
        wanted = {**inputs, **(request or {})}
        parameters = list(inspect.signature(function).parameters)
        if sorted(parameters) != sorted(wanted) or len(wanted) != len(inputs) + len(request or {}):
            raise DeclarationError(
                f"On-demand feature {name}: its function takes ({', '.join(parameters)}), but it is given "
                f"({', '.join(wanted)}).",
                hint="Each parameter is one name of inputs or of request.",
            )
        for reference in inputs.values():
            if not re.fullmatch(r"[a-z]\w*:[a-z]\w*", reference):
                raise DeclarationError(
                    f"On-demand feature {name}: {reference!r} is not a feature.", hint="Write view:feature."
                )
        types = {key: check_type(kind, f"On-demand feature {name}") for key, kind in (request or {}).items()}
        kind = check_type(type, f"On-demand feature {name}")
        description = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
        return OnDemandFeature(name, function, dict(inputs), types, kind, description)

    return declare


@dataclass(frozen=True)
class Declared:
    """The views and on-demand features of a pipeline, by name."""

    pipeline: str
    views: Mapping[str, FeatureView]
    on_demand: Mapping[str, OnDemandFeature]

    @classmethod
    def of(cls, pipeline: "Pipeline") -> "Declared":
        """What a pipeline declares.

        Raises:
            DeclarationError: a view's table is not declared in the pipeline, or an on-demand feature needs a feature
                that no view has.
        """
        views = {each.name: each for each in pipeline.extras if isinstance(each, FeatureView)}
        views |= {each.name: each.derived(views) for each in pipeline.extras if isinstance(each, DerivedView)}
        functions = {each.name: each for each in pipeline.extras if isinstance(each, OnDemandFeature)}
        for view in views.values():
            if view.table not in pipeline.tables and not view.model:
                raise DeclarationError(
                    f"Feature view {view.name}: its table {view.table} is not declared in pipeline {pipeline.name}.",
                    hint=f"Declared tables: {', '.join(map(str, sorted(pipeline.tables)))}.",
                )
        for function in functions.values():
            for reference in function.inputs.values():
                name, _, feature = reference.partition(":")
                if name not in views or feature not in views[name].feature_names:
                    raise DeclarationError(
                        f"On-demand feature {function.name}: {reference} is not declared.",
                        hint=f"Declared views: {', '.join(views) or 'none'}.",
                    )
        return cls(pipeline.name, views, functions)

    @property
    def features(self) -> tuple[FeatureView, ...]:
        """The views of features: all except those of predictions."""
        return tuple(view for view in self.views.values() if not view.model)

    def select(self, names: Sequence[str]) -> tuple[FeatureView, ...]:
        """The views with these names; all views if no name is given.

        Raises:
            UsageError: there is no such view.
        """
        unknown = [name for name in names if name not in self.views]
        if unknown:
            raise UsageError(
                f"There is no feature view {', '.join(map(repr, unknown))}.",
                hint=f"Declared views: {', '.join(self.views) or 'none'}.",
            )
        return tuple(self.views[name] for name in (names or self.views))
