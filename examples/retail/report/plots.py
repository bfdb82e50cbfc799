"""Plots of the retail pipeline: its gold tables, its training set, and the scores of its model.

Read with PyIceberg and PyArrow from the published files, so no Spark starts for a report.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from asgard.common.names import TableName
from asgard.features.user_features import CHURN_AFTER_DAYS
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.model.batch.table import SCORE
from asgard.model.metrics import THRESHOLD
from asgard.report.model_facts import Predictions
from asgard.report.plots import FIRST, MUTED, SECOND, Plot, svg_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

CUSTOMERS = TableName("gold", "customer_metrics")
DEPARTMENTS = TableName("gold", "department_sales")
_TOP_DEPARTMENTS = 8
_TOP_FEATURES = 10


def gold_plots(lake: Lakehouse, ref: str) -> list[Plot]:
    """The plots of the retail pipeline's gold tables at a ref (`name` or `name@hash`); a missing table has no plots."""
    contents = lake.nessie.contents(ref, (CUSTOMERS, DEPARTMENTS))
    plots: list[Plot] = []
    if CUSTOMERS in contents:
        rows = _columns(
            TableState.load(contents[CUSTOMERS].metadata_location, lake.settings),
            ("event_timestamp", "customer_lifetime_value", "purchase_frequency", "churned"),
        )
        plots += customer_plots(rows)
    if DEPARTMENTS in contents:
        state = TableState.load(contents[DEPARTMENTS].metadata_location, lake.settings)
        plots += department_plots(_columns(state, ("department", "revenue")))
    return plots


def _columns(state: TableState, names: Sequence[str]) -> "pandas.DataFrame":
    return state.table.scan(selected_fields=tuple(names)).to_pandas()


def customer_plots(rows: "pandas.DataFrame") -> list[Plot]:
    """Plots of event_timestamp, customer_lifetime_value, purchase_frequency and churned; [] if there are no rows."""
    if rows.empty:
        return []
    newest = rows["event_timestamp"].max()
    now = rows[rows["event_timestamp"] == newest]
    day = f"{newest:%-d %B %Y}"
    return [
        _distribution(
            now["customer_lifetime_value"], "customer_lifetime_value", "dollars spent so far", "${:,.0f}", day
        ),
        _distribution(now["purchase_frequency"], "purchase_frequency", "purchases per 30 days", "{:,.1f}", day),
        _concentration(now["customer_lifetime_value"]),
        _churn_share(rows),
        _weekly_sales(rows),
    ]


def _distribution(values: "pandas.Series[float]", feature: str, label: str, form: str, day: str) -> Plot:
    known = values.dropna().astype(float)
    middle, most = float(known.median()), float(known.quantile(0.99))

    def draw(axes: "Axes") -> None:
        axes.hist(known.clip(upper=most), bins=40, color=FIRST)
        axes.axvline(middle, color=SECOND, linewidth=1.5)
        axes.annotate(
            f"median {form.format(middle)}",
            (middle, axes.get_ylim()[1]),
            (5, -9),
            textcoords="offset points",
            color=SECOND,
        )
        axes.set_xlabel(label)
        axes.set_ylabel("customers")
        axes.xaxis.set_major_formatter(lambda value, _: form.format(value) if value == int(value) else "")

    return Plot(
        f"How {feature} is spread",
        svg_of(draw, f"Histogram of {feature}"),
        f"{len(known):,} customers as of {day}: half of them below {form.format(middle)}, one in a hundred above "
        f"{form.format(most)} (drawn in the last bar).",
    )


def _concentration(values: "pandas.Series[float]") -> Plot:
    most_first = values.dropna().astype(float).sort_values(ascending=False)
    customers = (most_first.rank(method="first", ascending=False) / len(most_first) * 100).to_numpy()
    sales = (most_first.cumsum() / most_first.sum() * 100).to_numpy()
    fifth = float(sales[max(len(sales) // 5 - 1, 0)])

    def draw(axes: "Axes") -> None:
        axes.plot((0, 100), (0, 100), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot((0, *customers), (0, *sales), color=FIRST, linewidth=1.8)
        axes.plot((20, 20, 0), (0, fifth, fifth), color=SECOND, linewidth=1)
        axes.annotate(f"{fifth:.0f} %", (20, fifth), (6, -10), textcoords="offset points", color=SECOND)
        axes.set_xlabel("% of customers, the best first")
        axes.set_ylabel("% of sales")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)

    return Plot(
        "How much the best customers buy",
        svg_of(draw, "Curve of the share of sales by share of customers"),
        f"The best fifth of all customers make {fifth:.0f} % of sales. The dashed line: all buy equally much.",
    )


def _churn_share(rows: "pandas.DataFrame") -> Plot:
    share = rows.groupby("event_timestamp")["churned"].mean().sort_index() * 100
    customers = int((rows["event_timestamp"] == share.index[-1]).sum())

    def draw(axes: "Axes") -> None:
        axes.fill_between(share.index, share.to_numpy(), color=FIRST, alpha=0.25, linewidth=0)
        axes.plot(share.index, share.to_numpy(), color=FIRST, linewidth=1.8)
        axes.set_ylabel("% churned")
        axes.set_ylim(bottom=0)
        _months(axes)

    return Plot(
        "Share of churned customers, week by week",
        svg_of(draw, "Line of the share of churned customers by week"),
        f"{share.iloc[-1]:.1f} % of {customers:,} customers on {share.index[-1]:%-d %B %Y}. A customer has "
        f"churned after more than {CHURN_AFTER_DAYS} days without a purchase, so nobody has in the first weeks.",
    )


def _weekly_sales(rows: "pandas.DataFrame") -> Plot:
    """Plot the sales of each week: the growth of lifetime values since the Monday before."""
    total = rows.groupby("event_timestamp")["customer_lifetime_value"].sum().sort_index()
    weekly = total.diff().dropna()

    def draw(axes: "Axes") -> None:
        axes.bar(weekly.index, weekly.to_numpy() / 1000, width=5.5, color=FIRST)
        axes.set_ylabel("thousand dollars")
        _months(axes)

    return Plot(
        "Sales, week by week",
        svg_of(draw, "Bars of sales by week"),
        f"{_dollars(weekly.mean())} a week on average; most in the week before {weekly.idxmax():%-d %B}, "
        f"{_dollars(weekly.max())}. Taken from the growth of customer_lifetime_value.",
    )


def department_plots(rows: "pandas.DataFrame") -> list[Plot]:
    """Plots of department and revenue; [] if there are no rows."""
    if rows.empty:
        return []
    revenue = rows.assign(revenue=rows["revenue"].astype(float)).groupby("department")["revenue"].sum()
    top = revenue.sort_values(ascending=False).head(_TOP_DEPARTMENTS)
    share = top.iloc[0] / revenue.sum() * 100

    def draw(axes: "Axes") -> None:
        names = [str(name) for name in top.index[::-1]]
        bars = axes.barh(names, top.to_numpy()[::-1] / 1000, color=FIRST)
        axes.bar_label(bars, [f"{value / 1000:,.0f}" for value in top.to_numpy()[::-1]], padding=3, color=MUTED)
        axes.margins(x=0.12)
        axes.set_xlabel("thousand dollars")
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)

    return [
        Plot(
            "Sales by department",
            svg_of(draw, "Bars of sales by department"),
            f"The {len(top)} largest of {len(revenue)} departments; {top.index[0]} alone is "
            f"{share:.0f} % of {_dollars(float(revenue.sum()))}.",
        )
    ]


def training_plots(rows: "pandas.DataFrame", time: str, features: Sequence[str]) -> list[Plot]:
    """Plots of a training set: its labels by time, if it has column `churned`, and how often each feature is missing.

    Args:
        rows: rows of the set.
        time: the labels' time column.
        features: the features' columns.
    """
    if rows.empty:
        return []
    plots = [_labels_by_time(rows, time)] if "churned" in rows else []
    return [*plots, _missing(rows, features)] if features else plots


def _labels_by_time(rows: "pandas.DataFrame", time: str) -> Plot:
    labels = rows.groupby(time)["churned"].agg(["size", "sum"]).sort_index()
    share = labels["sum"].astype(float) / labels["size"] * 100
    names = [f"{moment:%b %y}" for moment in labels.index]

    def draw(axes: "Axes") -> None:
        axes.bar(names, labels["size"], color=FIRST, alpha=0.3)
        bars = axes.bar(names, labels["sum"], color=FIRST)
        axes.bar_label(bars, [f"{value:.0f} %" for value in share], padding=2, fontsize=8)
        axes.set_ylabel("labels; solid: churned")
        axes.tick_params(axis="x", length=0, labelsize=8)

    total = labels["sum"].sum() / labels["size"].sum() * 100
    return Plot(
        "Labels by month, and how many churned",
        svg_of(draw, "Bars of labels by month, those that churned solid"),
        f"{total:.1f} % of {len(rows):,} labels churned; {share.min():.1f} % to {share.max():.1f} % by month. To "
        f"predict that nobody churns is right for {100 - total:.1f} %: a model has to beat that.",
    )


def _missing(rows: "pandas.DataFrame", features: Sequence[str]) -> Plot:
    share = (rows[list(features)].isna().mean() * 100).sort_values(ascending=False, kind="stable")
    top = share.head(_TOP_FEATURES)[::-1]

    def draw(axes: "Axes") -> None:
        bars = axes.barh(list(top.index), top.to_numpy(), color=SECOND)
        axes.bar_label(bars, [f"{value:.1f} %" for value in top], padding=3, color=MUTED, fontsize=8)
        axes.margins(x=0.14)
        axes.set_xlim(left=0, right=None if top.max() > 0 else 1)
        axes.set_xlabel("% of labels without it")
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0, labelsize=8)

    return Plot(
        "How often a feature is missing",
        svg_of(draw, "Bars of the share of labels without a feature"),
        f"The {len(top)} of {len(features)} features that are missing most often. {share.index[0]} is null for "
        f"{share.iloc[0]:.1f} % of labels, {share.index[-1]} for {share.iloc[-1]:.1f} %.",
    )


def _months(axes: "Axes") -> None:
    from matplotlib.dates import DateFormatter, MonthLocator

    axes.xaxis.set_major_locator(MonthLocator(interval=2))  # type: ignore[no-untyped-call, unused-ignore]
    axes.xaxis.set_major_formatter(DateFormatter("%b %y"))  # type: ignore[no-untyped-call, unused-ignore]


def _dollars(value: float) -> str:
    return f"${value / 1e6:,.2f} million" if value >= 1e6 else f"${value:,.0f}"


def score_plot(predictions: Predictions) -> Plot:
    """Plot the distribution of all households' scores."""
    scores = predictions.rows[SCORE]
    middle, above = float(scores.median()), int((scores >= THRESHOLD).sum())

    def draw(axes: "Axes") -> None:
        axes.hist(scores, bins=40, range=(0, 1), color=FIRST)
        axes.axvline(THRESHOLD, color=MUTED, linewidth=1, linestyle=":")
        axes.axvline(predictions.mean, color=SECOND, linewidth=1.5)
        axes.annotate(
            f"mean {predictions.mean:.2f}",
            (predictions.mean, axes.get_ylim()[1]),
            (5, -9),
            textcoords="offset points",
            color=SECOND,
        )
        axes.set(xlabel="probability to churn", ylabel="households", xlim=(0, 1))

    return Plot(
        "How the scores are spread",
        svg_of(draw, "Histogram of the scores"),
        f"{len(scores):,} households as of {predictions.as_of:%-d %B %Y}: half of them below {middle:.2f}, "
        f"{above:,} at {THRESHOLD:g} or above.",
    )
