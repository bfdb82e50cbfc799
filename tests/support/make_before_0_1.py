"""Makes `tests/data/before_0_1`: files of the last version before 0.1, for tests that newer versions read them.

It was run once, with the code of commit 40c9620, and uses no code of this checkout:

    git worktree add ../before 40c9620
    PYTHONPATH=../before/.typing:../before .venv/bin/python -m tests.support.make_before_0_1

It writes `project.tar.xz`, a project folder (warehouse, Nessie's store, Feast's repository, MLflow's database and
files, the pipeline); `redis.json`, every key of Redis; `expected.json`, the answers of that version.

A warehouse has absolute paths in its files, so the project is in a folder that every user can create, and tests unpack
it there.
"""

import csv
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import redis

PROJECT = Path("/tmp/asgard-before-0.1")  # noqa: S108 - see above
STORED = Path(__file__).parent.parent / "data" / "before_0_1"
CUSTOMERS, DAYS = 30, 3
START = datetime(2024, 1, 1, tzinfo=UTC)
PIPELINE = """
from asgard import Pipeline
from asgard.features.views import Feature, feature_view
from asgard.model.declaration import model
from asgard.model.predictions_view import predictions_view

shop = Pipeline("before")
shop.source("bronze.visits")


@shop.table("gold.customers", inputs={"rows": "bronze.visits"})
def customers(rows):
    paid = "CAST(amount AS decimal(10,2)) AS paid"
    return rows.selectExpr("customer_id", "event_timestamp", "amount", "visits", paid)


FEATURES = [Feature("amount", "double"), Feature("visits", "bigint"), Feature("paid", "decimal(10,2)")]
given = dict(table="gold.customers", keys=("customer_id",), online=True, ttl="36500d")
shop.add(feature_view("customers", features=FEATURES, **given))
shop.add(feature_view("customers_feast", features=FEATURES[:2], codec="feast", **given))


def boosted(data):
    import lightgbm

    fixed = {"objective": "binary", "verbosity": -1, "num_threads": 1, "deterministic": True, "seed": data.seed}
    small = {"num_leaves": 4, "min_data_in_leaf": 2, "min_data_in_bin": 1}
    return lightgbm.train({**fixed, **small, **data.params}, lightgbm.Dataset(data.features, data.target), 3)


churn = shop.add(
    model(
        "churn",
        labels="labels.parquet",
        target="left_us",
        views=("customers",),
        features=("amount", "visits"),
        trainer=boosted,
        test_share=0.25,
        outcome_after="1h",
    )
)
shop.add(predictions_view("churn_scores", model=churn, online=True, ttl="36500d"))
"""


def asgard(*arguments: str) -> Any:
    """Run a command, and return its JSON answer."""
    command = [sys.executable, "-m", "asgard.cli", *arguments, "--dir", str(PROJECT), "--json"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{PROJECT}/mlflow.db"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr}")
    return json.loads(done.stdout)


def write_inputs() -> None:
    """Write visits, labels that depend on them, and the pipeline."""
    drawn = random.Random(1)
    labels, text = [], io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["customer_id", "event_timestamp", "amount", "visits"])
    for customer in range(CUSTOMERS):
        for day in range(DAYS):
            at, amount, visits = START + timedelta(days=day), round(drawn.uniform(0, 100), 2), drawn.randrange(5)
            rows.writerow([customer, at.isoformat(), amount, visits])
            labels.append((customer, at + timedelta(hours=6), amount / (visits + 1) < 18))
    (PROJECT / "visits.csv").write_text(text.getvalue())
    pd.DataFrame(labels, columns=["customer_id", "event_timestamp", "left_us"]).to_parquet(PROJECT / "labels.parquet")
    (PROJECT / "before.py").write_text(PIPELINE)


def write_history() -> None:
    """Write every kind of content that a warehouse of that version can have."""
    asgard("ingest", "bronze.visits", "visits.csv")
    asgard("backfill", "-p", "before.py", "--start", "2024-01-01", "--end", "2024-02-01", "--apply-features")
    asgard("train", "-p", "before.py", "-m", "churn")
    asgard("train", "-p", "before.py", "-m", "churn", "--seed", "9")
    asgard("model", "promote", "churn@1.0.0", "--to", "staging")
    asgard("model", "promote", "churn@1.0.0", "--to", "production")
    asgard("batch-predict", "-m", "churn")
    asgard("batch-predict", "-m", "churn", "--challenger", "1.0.1", "--share", "0.3")
    asgard("batch-predict", "-m", "churn", "--where", "visits > 2", "--moment", "2024-01-02T12:00:00Z")
    asgard("features", "apply", "-p", "before.py")
    asgard("online-sync", "-v", "customers", "-v", "customers_feast", "-v", "churn_scores")


def keys_of(url: str) -> dict[str, Any]:
    """Return every key of a Redis and its value, in hexadecimal digits."""
    client, found = redis.Redis.from_url(url), {}
    for key in sorted(client.scan_iter()):
        match client.type(key):
            case b"string":
                found[key.hex()] = client.get(key).hex()
            case b"hash":
                found[key.hex()] = {name.hex(): value.hex() for name, value in sorted(client.hgetall(key).items())}
            case other:
                raise SystemExit(f"{key!r} is a {other!r}")
    return found


def answers() -> dict[str, Any]:
    """Return the version's answers about the content it wrote."""
    from asgard.common.settings import load_settings
    from asgard.serving import OnlineStore

    online = OnlineStore(settings=load_settings({"project_dir": str(PROJECT)}), timeout=10)
    entities = [{"customer_id": customer} for customer in range(CUSTOMERS)]
    looked_up = {view: online.lookup_many(view, entities) for view in ("customers", "customers_feast", "churn_scores")}
    from feast import FeatureStore

    asked = pd.DataFrame({"customer_id": range(5), "event_timestamp": [START + timedelta(days=1, hours=1)] * 5})
    refs = ["customers:amount", "customers:visits"]
    rows = FeatureStore(str(PROJECT / "feast")).get_historical_features(asked, refs).to_df()
    return {
        "lookup": {view: rows.to_dict() for view, rows in looked_up.items()},
        "features list": asgard("features", "list"),
        "lineage": asgard("lineage", "gold.churn_predictions", "--key", "customer_id=1"),
        "feast": rows.sort_values("customer_id")[["amount", "visits"]].to_dict("list"),
    }


def main() -> None:
    """Make the files."""
    shutil.rmtree(PROJECT, ignore_errors=True)
    PROJECT.mkdir()
    os.chdir(PROJECT)
    services = asgard("up", "--only", "nessie", "--only", "redis")
    try:
        write_inputs()
        write_history()
        STORED.mkdir(parents=True, exist_ok=True)
        (STORED / "expected.json").write_text(json.dumps(answers(), indent=1, sort_keys=True, default=str) + "\n")
        url = next(each["url"] for each in services["services"] if each["name"] == "redis")
        (STORED / "redis.json").write_text(json.dumps(keys_of(url), indent=1, sort_keys=True) + "\n")
    finally:
        asgard("down")
    with tarfile.open(STORED / "project.tar.xz", "w:xz", preset=9) as archive:
        archive.add(PROJECT, ".", filter=kept)


def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Remove the owner from an entry; leave out logs, sockets and files that are created again."""
    folders = ("./redis", "./logs", "./services.json", "./nessie/tmp", "./nessie/process", "./nessie/rocksdb/LOG")
    if entry.name.startswith(folders) or entry.name.endswith((".lock", ".pyc", ".crc", ".png", "__pycache__")):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
