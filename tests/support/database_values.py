"""Random values of every type of PostgreSQL and of MySQL, and the expected ingested value of a server's text."""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.examples import THOROUGH

Texts = st.SearchStrategy[str]

_WORD = st.text(st.sampled_from("abcXYZ 019,;'\"{}\\äß漢😀\t\n%_-"), max_size=8)
_PLAIN = st.text(st.sampled_from("abcxyz019"), min_size=1, max_size=6)


def _whole(low: int, high: int) -> Texts:
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0])).map(str)


def _decimal(precision: int, scale: int, *, signed: bool = True) -> Texts:
    whole = precision - scale

    def text(digits: str, cut: int, sign: str) -> str:
        front, back = digits[: min(cut, whole)], digits[whole : whole + scale] if scale else ""
        return f"{sign}{front or '0'}.{back}" if back else f"{sign}{front or '0'}"

    digits = st.text("0123456789", min_size=precision, max_size=precision)
    return st.builds(text, digits, st.integers(0, whole), st.sampled_from(["", "-"] if signed else [""]))


_REAL = st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr)
_FLOAT = st.one_of(st.floats(allow_nan=False, allow_infinity=False).map(repr), st.sampled_from(["1e-300", "0.1"]))
_DAY_TIMES = st.sampled_from(
    ["00:00:00", "02:30:00", "02:30:00.5", "23:59:59.999999", "12:34:56.123456", "00:00:00.000001", "03:05:43"]
)
_ODD_DAYS = ["1890-01-01", "1900-12-31", "1901-01-01", "1582-10-10", "1000-02-28", "1927-12-31", "1940-06-03",
             "1945-05-24", "1980-04-06", "1991-09-15", "2024-02-29", "2024-03-31", "2024-10-27", "1970-01-01",
             "9999-12-31"]  # fmt: skip
_DAYS = st.one_of(st.dates().map(str), st.sampled_from(_ODD_DAYS))
_MOMENTS = st.builds("{} {}".format, _DAYS, _DAY_TIMES)


def _postgres_array(of: Texts) -> Texts:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    one = st.lists(st.one_of(st.just("NULL"), of.map(quoted)), max_size=4).map(
        lambda found: "{" + ",".join(found) + "}"
    )
    plain = of.map(quoted)
    two = st.builds("{{{{{},{}}},{{{},{}}}}}".format, plain, plain, plain, plain)
    moved = st.builds("[2:3]={{{},{}}}".format, plain, plain)
    return st.one_of(one, one, one, two, moved)


_PG_DATES = st.one_of(_DAYS, st.sampled_from(["infinity", "-infinity", "0044-03-15 BC", "12024-01-01", "0001-01-01"]))
_PG_MOMENTS = st.one_of(
    _MOMENTS, st.sampled_from(["infinity", "-infinity", "0044-03-15 10:00:00 BC", "294276-12-31 23:59:59.999999"])
)
_PG_ZONED = st.one_of(
    st.builds("{}{}".format, _MOMENTS, st.sampled_from(["+00", "+02", "-11:30", " Europe/Berlin", " Asia/Shanghai"])),
    st.sampled_from(["infinity", "-infinity"]),
)
_NUMERIC = st.one_of(
    _decimal(12, 4), _decimal(60, 20), st.sampled_from(["NaN", "Infinity", "-Infinity", "1e-38", "1e40", "0.00"])
)
_BITS = st.text("01", min_size=5, max_size=5)
_JSON = st.recursive(st.one_of(_PLAIN.map('"{}"'.format), st.integers().map(str), st.just("1.10"), st.just("null")),
                     lambda inner: st.builds('{{"a": {}, "b": [{}]}}'.format, inner, inner), max_leaves=4)  # fmt: skip
_RANGE = st.builds("[{},{}]".format, st.integers(-99, 0), st.integers(1, 99))
_XY = st.tuples(st.integers(-99, 99), st.integers(100, 999))

POSTGRES_TYPES: Mapping[str, tuple[str, Texts]] = {
    "int2": ("int2", _whole(-(2**15), 2**15 - 1)),
    "int4": ("int4", _whole(-(2**31), 2**31 - 1)),
    "int8": ("int8", _whole(-(2**63), 2**63 - 1)),
    "oid": ("oid", _whole(0, 2**32 - 1)),
    "float4": ("float4", st.one_of(_REAL, st.sampled_from(["NaN", "Infinity", "-Infinity"]))),
    "float8": ("float8", st.one_of(_FLOAT, st.sampled_from(["NaN", "Infinity", "-Infinity", "-0"]))),
    "any_numeric": ("numeric", _NUMERIC),
    "numeric10": ("numeric(10,2)", st.one_of(_decimal(10, 2), st.just("NaN"))),
    "numeric38": ("numeric(38,10)", _decimal(38, 10)),
    "numeric50": ("numeric(50,5)", _decimal(50, 5)),
    "numeric40": ("numeric(40,2)", _decimal(40, 2)),
    "numeric45": ("numeric(45,38)", st.one_of(_decimal(45, 38), st.sampled_from(["1e-38", "1.5"]))),
    "numeric_hundreds": ("numeric(3,-2)", _whole(-99900, 99900)),
    "numeric_small": ("numeric(2,5)", st.sampled_from(["0.00012", "0.00099", "0"])),
    "bool": ("bool", st.sampled_from(["true", "false"])),
    "bytea": ("bytea", st.binary(max_size=6).map(lambda found: "\\x" + found.hex())),
    "text": ("text", _WORD),
    "varchar": ("varchar(20)", _WORD),
    "bpchar": ("char(9)", _WORD),
    '"char"': ('"char"', st.sampled_from("aZ ")),
    "name": ("name", _WORD),
    "date": ("date", _PG_DATES),
    "timestamp": ("timestamp", _PG_MOMENTS),
    "timestamp3": ("timestamp(3)", _PG_MOMENTS),
    "timestamptz": ("timestamptz", _PG_ZONED),
    "time": ("time", st.one_of(_DAY_TIMES, st.just("24:00:00"))),
    "timetz": ("timetz", st.builds("{}{}".format, _DAY_TIMES, st.sampled_from(["+00", "-03:30", "+15:59"]))),
    "interval": ("interval", st.sampled_from(["1 year -2 days 03:04:05.678901", "-1 mon", "0", "178000000 years"])),
    "money": ("money", _decimal(10, 2)),
    "bit1": ("bit(1)", st.sampled_from("01")),
    "bit5": ("bit(5)", _BITS),
    "varbit": ("varbit(9)", _BITS),
    "uuid": ("uuid", st.uuids().map(str)),
    "json": ("json", _JSON),
    "jsonb": ("jsonb", _JSON),
    "jsonpath": ("jsonpath", st.just("$.a[*]")),
    "xml": ("xml", st.nothing()),  # only nulls: this server is built without libxml
    "inet": ("inet", st.sampled_from(["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"])),
    "cidr": ("cidr", st.sampled_from(["10.0.0.1", "10.0.0.0/8", "2001:db8::/32"])),
    "macaddr": ("macaddr", st.just("08:00:2b:01:02:03")),
    "macaddr8": ("macaddr8", st.just("08:00:2b:01:02:03:04:05")),
    "point": ("point", _XY.map("({0[0]},{0[1]})".format)),
    "line": ("line", _XY.map("{{1,{0[0]},{0[1]}}}".format)),
    "lseg": ("lseg", _XY.map("[({0[0]},1),({0[1]},2)]".format)),
    "box": ("box", _XY.map("(1,{0[1]}),(0,{0[0]})".format)),
    "path": ("path", _XY.map("[({0[0]},1),({0[1]},2)]".format)),
    "polygon": ("polygon", _XY.map("(({0[0]},1),({0[1]},2))".format)),
    "circle": ("circle", _XY.map("<({0[0]},1),{0[1]}>".format)),
    "tsvector": ("tsvector", _PLAIN),
    "tsquery": ("tsquery", _PLAIN.map("{} & b".format)),
    "pg_lsn": ("pg_lsn", st.just("16/B374D848")),
    "txid_snapshot": ("txid_snapshot", st.just("10:20:10,14,15")),
    "pg_snapshot": ("pg_snapshot", st.just("10:20:10,14,15")),
    "xid": ("xid", _whole(3, 2**32 - 1)),
    "xid8": ("xid8", _whole(3, 2**63 - 1)),
    "cid": ("cid", _whole(0, 99)),
    "tid": ("tid", st.just("(3,4)")),
    "regtype": ("regtype", st.sampled_from(["integer", "text"])),
    "regclass": ("regclass", st.just("pg_class")),
    "refcursor": ("refcursor", _PLAIN),
    "int2vector": ("int2vector", st.just("1 2 3")),
    "int4range": ("int4range", st.one_of(_RANGE, st.just("empty"))),
    "int8range": ("int8range", _RANGE),
    "numrange": ("numrange", _RANGE),
    "daterange": ("daterange", st.builds("[{},9999-12-31]".format, st.dates().map(str))),
    "tsrange": ("tsrange", st.builds('["{}",infinity)'.format, _MOMENTS)),
    "tstzrange": ("tstzrange", st.builds('["{}+02",infinity)'.format, _MOMENTS)),
    "int4multirange": ("int4multirange", _RANGE.map("{{{}}}".format)),
    "tstzmultirange": ("tstzmultirange", st.builds('{{["{}+02",infinity)}}'.format, _MOMENTS)),
    "enum": ("mood", st.sampled_from(["sad", "o k"])),
    "domain": ("positive", st.sampled_from(["0.01", "9999.99"])),
    "char_domain": ("code", _PLAIN.map(lambda text: text[:4])),
    "composite": ("pair", st.builds('({},"{}")'.format, st.integers(-9, 9), _PLAIN)),
    "int4s": ("int4[]", _postgres_array(_whole(-(2**31), 2**31 - 1))),
    "numerics": ("numeric[]", _postgres_array(_NUMERIC)),
    "numerics10": ("numeric(10,2)[]", _postgres_array(_decimal(10, 2))),
    "float8s": ("float8[]", _postgres_array(st.one_of(_FLOAT, st.just("NaN")))),
    "bools": ("bool[]", _postgres_array(st.sampled_from(["t", "f"]))),
    "texts": ("text[]", _postgres_array(_WORD)),
    "bpchars": ("char(3)[]", _postgres_array(_PLAIN.map(lambda text: text[:3]))),
    "dates": ("date[]", _postgres_array(_PG_DATES)),
    "timestamps": ("timestamp[]", _postgres_array(_PG_MOMENTS)),
    "timestamptzs": ("timestamptz[]", _postgres_array(_PG_ZONED)),
    "times": ("time[]", _postgres_array(_DAY_TIMES)),
    "byteas": ("bytea[]", _postgres_array(st.binary(max_size=3).map(lambda found: "\\x" + found.hex()))),
    "inets": ("inet[]", _postgres_array(st.just("10.0.0.1"))),
    "moods": ("mood[]", _postgres_array(st.sampled_from(["sad", "o k"]))),
    "uuids": ("uuid[]", _postgres_array(st.uuids().map(str))),
}
POSTGRES_OWN_TYPES = """
    CREATE TYPE mood AS ENUM ('sad', 'o k');
    CREATE DOMAIN positive AS numeric(6,2) CHECK (value > 0);
    CREATE DOMAIN code AS char(4);
    CREATE TYPE pair AS (a int, b text);
"""

_MY_DATES = st.one_of(_DAYS, st.sampled_from(["0000-00-00", "2024-00-00", "2024-02-00"]))
_MY_TIMES = st.sampled_from(["838:59:59.999999", "-838:59:59.999999", "00:00:00", "23:59:59.5", "-00:00:01"])
_MY_STAMPS = st.builds(
    "{} {}".format, st.sampled_from(["1970-01-02", "2024-03-31", "2024-10-27", "2038-01-18", "1991-09-15"]), _DAY_TIMES
)
_HEX = st.binary(min_size=1, max_size=3).map(lambda found: f"0x{found.hex()}")

MYSQL_TYPES: Mapping[str, tuple[str, Texts]] = {
    **{
        f"{name}{suffix}": (f"{name}{suffix}".replace("_", " "), _whole(low, high))
        for name, bits in (("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64))
        for suffix, low, high in (("", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1), ("_unsigned", 0, 2**bits - 1))
    },
    "tinyint1": ("tinyint(1)", _whole(-128, 127)),
    "zerofilled": ("int(10) unsigned zerofill", _whole(0, 2**32 - 1)),
    "decimal10": ("decimal(10,2)", _decimal(10, 2)),
    "decimal10_unsigned": ("decimal(10,2) unsigned", _decimal(10, 2, signed=False)),
    "decimal38": ("decimal(38,10)", _decimal(38, 10)),
    "decimal65": ("decimal(65,30)", st.one_of(_decimal(65, 30), st.sampled_from(["1.5", "1e-30"]))),
    "decimal65_whole": ("decimal(65,0)", st.one_of(_decimal(65, 0), _decimal(30, 0))),
    "float": ("float", _REAL),
    "double": ("double", _FLOAT),
    "bit1": ("bit(1)", st.sampled_from("01")),
    "bit5": ("bit(5)", _whole(0, 31)),
    "bit64": ("bit(64)", _whole(0, 2**64 - 1)),
    "date": ("date", _MY_DATES),
    "datetime": ("datetime", _MOMENTS),
    "datetime6": ("datetime(6)", st.one_of(_MOMENTS, st.just("0000-00-00 00:00:00"))),
    "timestamp": ("timestamp null", st.one_of(_MY_STAMPS, st.just("0000-00-00 00:00:00"))),
    "timestamp6": ("timestamp(6) null", _MY_STAMPS),
    "time": ("time", _MY_TIMES),
    "time6": ("time(6)", _MY_TIMES),
    "year": ("year", st.sampled_from(["1901", "2024", "2155", "0000"])),
    "char": ("char(9)", _WORD),
    "varchar": ("varchar(9)", _WORD),
    "varchar_latin": ("varchar(9) character set latin1", st.sampled_from(["äß", "abc", ""])),
    "varchar_bin": ("varchar(9) collate utf8mb4_bin", _WORD),
    **{f"{size}text": (f"{size}text", _WORD) for size in ("tiny", "", "medium", "long")},
    "binary": ("binary(3)", _HEX),
    "varbinary": ("varbinary(9)", _HEX),
    **{f"{size}blob": (f"{size}blob", _HEX) for size in ("tiny", "", "medium", "long")},
    "enum": ("enum('a','o k')", st.sampled_from(["a", "o k"])),
    "set": ("set('x','y','z')", st.sampled_from(["", "x", "x,z"])),
    "json": ("json", _JSON),
    "uuid": ("uuid", st.uuids().map(str)),
    "inet6": ("inet6", st.just("2001:db8::1")),
}


@dataclass(frozen=True)
class Batch:
    """Rows of texts or nulls, by column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


def batch_of(types: Mapping[str, tuple[str, Texts]], count: int) -> Batch:
    """Draw `count` rows with values of each type, for one read; about one value in ten is null."""
    rows: list[tuple[str | None, ...]] = []

    @settings(
        max_examples=count,
        derandomize=not THOROUGH,  # Java 17 prints some doubles of arrays with a digit too many: they land in _raw
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*(st.one_of(*[texts] * 9, st.none()) for _, texts in types.values())))
    def collect(row: tuple[str | None, ...]) -> None:
        rows.append(row)

    collect()
    return Batch(tuple(types), tuple(rows))


def landed_as(text: str, kind: str) -> object:
    """Return the value that the server's text is ingested as in a column; None if the column can't represent it.

    Times are returned as text, in UTC and without trailing zeros.
    """
    if kind == "string":
        return text
    if kind == "boolean":
        return text in ("t", "true", "1")
    if kind in ("tinyint", "smallint", "int", "bigint"):
        return int(text)
    if kind == "double":
        return float(text)
    if kind == "float":
        return struct.unpack("f", struct.pack("f", float(text)))[0]
    if kind == "binary":
        return bytes.fromhex(text.removeprefix("\\x"))
    if kind.startswith("decimal("):
        precision, scale = map(int, kind[8:-1].split(","))
        return _fitting(Decimal(text), precision, scale)
    assert kind in ("date", "timestamp"), kind
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)( \d\d:\d\d:\d\d(\.\d+)?)?(\+00)?", text)
    if match is None or match[2] == "00" or match[3] == "00":
        return None
    if kind == "date":
        return text
    fraction = (match[5] or "").rstrip("0").rstrip(".")
    return f"{match[1]}-{match[2]}-{match[3]}{(match[4] or '')[:9]}{fraction}"


def _fitting(value: Decimal, precision: int, scale: int) -> Decimal | None:
    if not value.is_finite():
        return None
    front, _, back = f"{value.copy_abs():f}".partition(".")
    fits = len(back.rstrip("0")) <= scale and len(front.lstrip("0")) <= precision - scale
    return value if fits else None


def same(found: object, expected: object) -> bool:
    """Whether two values are equal; NaN equals NaN."""
    if isinstance(found, Sequence) and not isinstance(found, str | bytes) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(found, float) and isinstance(expected, float) and math.isnan(found):
        return math.isnan(expected)
    return type(found) is type(expected) and found == expected
