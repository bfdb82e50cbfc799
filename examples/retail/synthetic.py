"""Random customers, transactions and tickets of a shop, drawn with NumPy, including the planted defects.

Customers sign up from 2022 on and buy during 2024: some often and most rarely (log-normal rates), more at weekends and
before Christmas. A third of them stop buying at some time, and write more tickets shortly before: this is the signal
for a churn model. Times are written as the local time of the customer's country with its offset, so they cross the
changes to and from summer time.

The result of every function depends only on its random generator: the same seed gives the same arrays.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from examples.retail.planted import Planted

FIRST_DAY = np.datetime64("2024-01-01", "s")
DAYS = 366
ZONES = ("Europe/London", "Europe/Berlin", "America/New_York")
COUNTRIES = np.array(["GB", "DE", "US"])
CATEGORIES = ("garden", "grocery", "home", "kitchen", "office", "pets", "sports", "toys")
TICKET_CATEGORIES = ("account", "billing", "delivery", "product")
PRODUCTS = 800
UNKNOWN_CUSTOMERS_FROM = 900_000_001
"""Ids from this one on belong to no customer."""

_DAY = 86_400
_FIRST_NAMES = ("anna", "ben", "carla", "david", "emma", "finn", "grace", "henry", "ida", "jonas", "kira", "liam")
_LAST_NAMES = ("becker", "clarke", "diaz", "fischer", "garcia", "hughes", "ivanov", "jones", "keller", "lopez", "moss")
_DOMAINS = ("example.com", "example.net", "mail.example.org")
_MALFORMED = ("{}.example.com", "{}@@example.com", "{}@localhost", "{} @example.com", "{}@example.com.", "@{}.com")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Population:
    """The distinct customers, one array element each; the customer at index i has the id i + 1.

    Attributes:
        survives: whether the customer's row survives the cleansing.
        country: index into COUNTRIES.
        signed_up: seconds since FIRST_DAY, mostly negative.
        active_from, active_to: days since FIRST_DAY between which purchases happen.
        stops: whether the customer stops buying within the year.
        rate: purchases per day while active, relative to other customers.
    """

    survives: Bools
    country: Ints
    signed_up: Ints
    active_from: Floats
    active_to: Floats
    stops: Bools
    rate: Floats


def draw_population(rng: np.random.Generator, planted: Planted) -> Population:
    """Draw customers and their habits; customers with a bad e-mail do not survive the cleansing."""
    count = planted.rows - planted.defects["replayed"] - planted.defects["outdated"]
    rejected = planted.defects["email_missing"] + planted.defects["email_malformed"]
    survives = np.ones(count, dtype=np.bool_)
    survives[rng.choice(count, rejected, replace=False)] = False
    signed_up_day = np.where(rng.random(count) < 0.65, rng.integers(-730, 0, count), rng.integers(0, 330, count))
    active_from = np.maximum(signed_up_day + 1, 0).astype(np.float64)
    stops = rng.random(count) < 0.35
    lifetime = 1 + rng.exponential(150, count)
    active_to = np.where(stops, np.minimum(active_from + lifetime, DAYS), DAYS).astype(np.float64)
    return Population(
        survives=survives,
        country=rng.choice(len(COUNTRIES), count, p=(0.5, 0.3, 0.2)),
        signed_up=signed_up_day * _DAY + rng.integers(0, _DAY, count),
        active_from=active_from,
        active_to=active_to,
        stops=stops & (active_to < DAYS),
        rate=rng.lognormal(0.0, 0.6, count),
    )


def customer_rows(rng: np.random.Generator, planted: Planted, population: Population) -> pa.Table:
    """customer_id, full_name, email, country, segment, signed_up_at, updated_at; in order of delivery."""
    count = len(population.survives)
    first, last = rng.integers(0, len(_FIRST_NAMES), count), rng.integers(0, len(_LAST_NAMES), count)
    names = [(_FIRST_NAMES[f], _LAST_NAMES[s]) for f, s in zip(first, last, strict=True)]
    domains = rng.integers(0, len(_DOMAINS), count)
    emails: list[str | None] = [
        f"{f}.{s}.{number}@{_DOMAINS[domain]}"
        for number, ((f, s), domain) in enumerate(zip(names, domains, strict=True), 1)
    ]
    segments: list[str | None] = [("basic", "plus", "premium")[i] for i in rng.choice(3, count, p=(0.6, 0.3, 0.1))]

    rejected = rng.permutation(np.flatnonzero(~population.survives))
    for place, customer in enumerate(rejected):
        broken = place >= planted.defects["email_missing"]
        emails[customer] = _MALFORMED[place % len(_MALFORMED)].format(f"customer{customer + 1}") if broken else None
    survivors = rng.permutation(np.flatnonzero(population.survives))
    replayed, outdated, untidy, unsegmented = _take(
        survivors,
        planted.defects["replayed"],
        planted.defects["outdated"],
        planted.cleanable["email_untidy"],
        planted.cleanable["segment_missing"],
    )
    for place, customer in enumerate(untidy):
        tidy = emails[customer] or ""
        emails[customer] = (f"  {tidy}", tidy.upper(), f"{tidy.title()}\t")[place % 3]
    for place, customer in enumerate(unsegmented):
        segments[customer] = (None, "  ")[place % 2]

    number = np.concatenate([np.arange(count), replayed, outdated])
    is_old = np.arange(len(number)) >= count + len(replayed)
    updated = population.signed_up + rng.integers(_DAY, 30 * _DAY, count)
    old_emails = [f"{old}.old@example.com" for old in number[is_old] + 1]
    table = pa.table(
        {
            "customer_id": number + 1,
            "full_name": [f'{names[i][1].title()}, {names[i][0].title()} "{i % 7}"' for i in number],
            "email": [*(emails[i] for i in number[~is_old]), *old_emails],
            "country": COUNTRIES[population.country[number]],
            "segment": [segments[i] for i in number],
            "signed_up_at": local_text(population.signed_up[number], population.country[number]),
            "updated_at": utc_text(np.where(is_old, population.signed_up[number], updated[number])),
        }
    )
    delivered = updated[number] + _around(is_old)
    return table.take(pa.array(np.argsort(delivered, kind="stable")))


def transaction_rows(rng: np.random.Generator, planted: Planted, population: Population) -> pa.Table:
    """transaction_id, customer_id, product_id, category, quantity, amount, transaction_at, updated_at."""
    defects = planted.defects
    count = planted.rows - defects["replayed"] - defects["outdated"]
    buyer, at = _draw_events(rng, count, population, population.rate * population.survives)
    by_time = np.argsort(at, kind="stable")
    buyer, at = buyer[by_time], at[by_time]
    product = np.minimum((PRODUCTS * rng.power(0.6, count)).astype(np.int64), PRODUCTS - 1)
    quantity = 1 + rng.poisson(0.4, count)
    price = np.exp(rng.normal(2.3, 0.6, PRODUCTS))
    cents = np.maximum((100 * price[product] * quantity * rng.uniform(0.9, 1.1, count)).astype(np.int64), 1)

    missing, unknown, rejected, unusable, replayed, outdated, uncategorised = _take(
        rng.permutation(count),
        *(defects[name] for name in ("customer_missing", "customer_unknown", "customer_rejected", "amount_unusable")),
        defects["replayed"],
        defects["outdated"],
        planted.cleanable["category_missing"],
    )
    customer = buyer + 1
    customer[unknown] = UNKNOWN_CUSTOMERS_FROM + rng.integers(0, 1 + count // 10, len(unknown))
    customer[rejected] = 1 + rng.choice(np.flatnonzero(~population.survives), len(rejected))
    no_customer = _mask(count, missing)
    category_of = np.array(CATEGORIES)[rng.integers(0, len(CATEGORIES), PRODUCTS)]
    category = pa.array(category_of[product], mask=_mask(count, uncategorised[0::2]))
    category = pc.if_else(_mask(count, uncategorised[1::2]), pa.scalar(" "), category)
    amount = _money_text(cents)
    amount = pc.if_else(_mask(count, unusable[0::2]), pc.binary_join_element_wise("-", amount, ""), amount)
    amount = pc.if_else(_mask(count, unusable[1::2]), pa.scalar("n/a"), amount)

    number = np.concatenate([np.arange(count), replayed, outdated])
    is_old = np.arange(len(number)) >= count + len(replayed)
    corrected_after = 2 * _DAY * _mask(count, outdated)
    written = at + 1 + corrected_after
    first_amount = _money_text(cents + 100 + rng.integers(0, 1_000, count))
    table = pa.table(
        {
            "transaction_id": number + 1,
            "customer_id": pa.array(customer[number], mask=no_customer[number]),
            "product_id": product[number] + 1,
            "category": category.take(pa.array(number)),
            "quantity": quantity[number],
            "amount": pc.if_else(is_old, first_amount.take(pa.array(number)), amount.take(pa.array(number))),
            "transaction_at": local_text(at[number], population.country[buyer[number]]),
            "updated_at": utc_text(np.where(is_old, at[number] + 1, written[number])),
        }
    )
    delivered = written[number] + _around(is_old)
    delivered[count : count + len(replayed)] += _DAY
    return table.take(pa.array(np.argsort(delivered, kind="stable")))


def ticket_rows(rng: np.random.Generator, planted: Planted, population: Population) -> pa.Table:
    """ticket_id, customer_id, category, priority, opened_at; in order of delivery."""
    defects = planted.defects
    count = planted.rows - defects["replayed"]
    weight = (0.4 + 2.6 * population.stops) * population.survives
    author, at = _draw_events(rng, count, population, weight / (population.active_to - population.active_from))
    last_days = (population.active_to[author] * _DAY - rng.exponential(20 * _DAY, count)).astype(np.int64)
    in_last_days = population.stops[author] & (rng.random(count) < 0.7)
    already_active = last_days >= population.active_from[author] * _DAY
    at = np.where(in_last_days & already_active, last_days, at)
    by_time = np.argsort(at, kind="stable")
    author, at = author[by_time], at[by_time]

    missing, unknown, rejected, replayed, uncategorised = _take(
        rng.permutation(count),
        *(defects[name] for name in ("customer_missing", "customer_unknown", "customer_rejected", "replayed")),
        planted.cleanable["category_missing"],
    )
    customer = author + 1
    customer[unknown] = UNKNOWN_CUSTOMERS_FROM + rng.integers(0, 1 + count // 10, len(unknown))
    customer[rejected] = 1 + rng.choice(np.flatnonzero(~population.survives), len(rejected))
    no_customer, no_category = _mask(count, missing), _mask(count, uncategorised)
    category = np.array(TICKET_CATEGORIES)[rng.choice(len(TICKET_CATEGORIES), count, p=(0.15, 0.25, 0.4, 0.2))]
    number = np.concatenate([np.arange(count), replayed])
    table = pa.table(
        {
            "ticket_id": number + 1,
            "customer_id": pa.array(customer[number], mask=no_customer[number]),
            "category": pa.array(category[number], mask=no_category[number]),
            "priority": np.array(["low", "normal", "high"])[rng.choice(3, count, p=(0.3, 0.5, 0.2))][number],
            "opened_at": local_text(at[number], population.country[author[number]]),
        }
    )
    delivered = at[number] + _DAY * (np.arange(len(number)) >= count)
    return table.take(pa.array(np.argsort(delivered, kind="stable")))


def utc_text(seconds: Ints) -> pa.Array:
    """Seconds since FIRST_DAY as `2024-01-31T12:00:00Z`."""
    return pc.binary_join_element_wise(_clock(seconds), "Z", "")


def local_text(seconds: Ints, country: Ints) -> pa.Array:
    """Seconds since FIRST_DAY as the country's local time with its offset: `2024-01-31T13:00:00+01:00`."""
    first_hour = int(seconds.min()) // 3600 if len(seconds) else 0
    last_hour = int(seconds.max()) // 3600 if len(seconds) else 0
    offsets = np.stack([_offset_hours(zone, first_hour, last_hour) for zone in ZONES])
    offset = offsets[country, seconds // 3600 - first_hour]
    suffixes = np.array([f"{'-' if hours < 0 else '+'}{abs(hours):02d}:00" for hours in range(-12, 13)])
    return pc.binary_join_element_wise(_clock(seconds + offset * 3600), pa.array(suffixes[offset + 12]), "")


def _offset_hours(zone: str, first_hour: int, last_hour: int) -> Ints:
    """The zone's offset from UTC in each hour since FIRST_DAY; offsets change at whole hours only."""
    start = FIRST_DAY.astype(datetime).replace(tzinfo=UTC)
    place = ZoneInfo(zone)
    moments = (start + timedelta(hours=hour) for hour in range(first_hour, last_hour + 1))
    return np.array(
        [int((moment.astimezone(place).utcoffset() or timedelta()) / timedelta(hours=1)) for moment in moments]
    )


def _clock(seconds: Ints) -> pa.Array:
    return pc.strftime(pa.array(FIRST_DAY + seconds.astype("timedelta64[s]")), format="%Y-%m-%dT%H:%M:%S")


def _money_text(cents: Ints) -> pa.Array:
    """Cents as `12.05`."""
    small = pc.utf8_lpad(pc.cast(pa.array(cents % 100), pa.string()), 2, "0")
    return pc.binary_join_element_wise(pc.cast(pa.array(cents // 100), pa.string()), small, ".")


def _draw_events(rng: np.random.Generator, count: int, population: Population, rate: Floats) -> tuple[Ints, Ints]:
    """Draw each event's customer (index) and time (seconds since FIRST_DAY, while the customer is active)."""
    busy = np.concatenate([[0.0], np.cumsum(_busyness())])
    days = np.arange(DAYS + 1, dtype=np.float64)
    opening = np.interp(population.active_from, days, busy)
    closing = np.interp(population.active_to, days, busy)
    share = np.cumsum(rate * (closing - opening))
    who = np.searchsorted(share, rng.random(count) * share[-1], side="right").astype(np.int64)
    at_busy = opening[who] + rng.random(count) * (closing - opening)[who]
    day = np.interp(at_busy, busy, days).astype(np.int64)
    second = np.clip(rng.normal(15 * 3600, 4 * 3600, count), 0, _DAY - 1).astype(np.int64)
    return who, np.clip(day, 0, DAYS - 1) * _DAY + second


def _busyness() -> Floats:
    """Relative amount of purchases on each day of the year."""
    day = np.arange(DAYS)
    weekend = ((day + 1) % 7 == 6) | ((day + 1) % 7 == 0)  # the first day is a Monday
    christmas = 0.9 * np.exp(-(((day - 350) / 14.0) ** 2))
    return np.asarray((1 + 0.15 * np.sin(2 * np.pi * day / DAYS) + christmas) * np.where(weekend, 1.35, 1.0))


def _take(order: Ints, *counts: int) -> list[Ints]:
    """Split off disjoint pieces of `order`, with these lengths."""
    ends = np.cumsum(counts)
    return list(np.split(order[: ends[-1]], ends[:-1]))


def _around(is_old: Bools) -> Ints:
    """Seconds from the delivery of the newest version to that of the old one: half of the old ones arrive earlier."""
    return np.where(is_old, np.where(np.arange(len(is_old)) % 2 == 0, -_DAY, _DAY), 0)


def _mask(count: int, places: Ints) -> Bools:
    mask = np.zeros(count, dtype=np.bool_)
    mask[places] = True
    return mask
