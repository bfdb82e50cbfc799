"""B2: the protocol's calls to Nessie, by Asgard's client and as raw requests, at growing depths of history.

One loop: read main's head, branch, commit a table on the branch, diff, read main's head, publish by one commit, drop
the branch. Both sides make the same calls over one pooled connection and end in the same state.
"""

import json
import secrets
from typing import Any

import urllib3

from asgard.common.names import BranchName, TableName
from asgard.lakehouse.catalog.nessie import Content, Nessie, RefKind, put, put_namespace
from benchmarks.harness import Row, interleave, parse, project, ratio, report

KEY = ("bench", "table")


def content(number: int, known: Content | None) -> Content:
    """Return a table content as Iceberg's catalog would commit it."""
    raw: dict[str, Any] = {
        "type": "ICEBERG_TABLE",
        "metadataLocation": f"file:/nowhere/{number}-{secrets.token_hex(4)}.json",
        "snapshotId": number,
        "schemaId": 0,
        "specId": 0,
        "sortOrderId": 0,
    }
    return Content("ICEBERG_TABLE", {**raw, **({"id": known.id} if known else {})})


def through_the_door(nessie: Nessie, times: int) -> None:
    """Run the loop by Asgard's client."""
    for number in range(times):
        known = nessie.content("main", TableName(*KEY))
        head = nessie.head("main")
        branch = nessie.create(RefKind.BRANCH, BranchName(f"x{secrets.token_hex(6)}x"), head, "main")
        tip = nessie.commit(branch.name, head, [put(KEY, content(number, known), is_new=known is None)], "write")
        changes = nessie.diff(f"main@{head}", f"{branch.name}@{tip}")
        assert nessie.head("main") == head
        operations = [put(c.key, c.after, is_new=c.before is None) for c in changes if c.after]
        nessie.commit(BranchName("main"), head, operations, "publish")
        nessie.delete(nessie.reference(branch.name))


class Raw:
    """The same loop, request by request."""

    def __init__(self, uri: str) -> None:
        self.base = f"{uri}/api/v2"
        self.pool = urllib3.PoolManager()
        self.headers = {"Content-Type": "application/json", "Accept": "application/json", "Nessie-Client-Spec": "2"}

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        answer = self.pool.request(method, self.base + path, body=data, headers=self.headers)
        assert answer.status < 300, answer.data
        return json.loads(answer.data) if answer.data else None

    def loop(self, times: int) -> None:
        for number in range(times):
            keys = {"requestedKeys": [{"elements": list(KEY)}]}
            found = self.call("POST", "/trees/main/contents", keys)["contents"]
            known = Content("ICEBERG_TABLE", found[0]["content"]) if found else None
            head = self.call("GET", "/trees/main")["reference"]["hash"]
            name = f"x{secrets.token_hex(6)}x"
            source = {"type": "BRANCH", "name": "main", "hash": head}
            self.call("POST", f"/trees?name={name}&type=BRANCH", source)
            made = dict(content(number, known).raw)
            operation = {"type": "PUT", "key": {"elements": list(KEY)}, "content": made}
            commit = {"commitMeta": {"message": "write"}, "operations": [operation]}
            tip = self.call("POST", f"/trees/{name}@{head}/history/commit", commit)["targetBranch"]["hash"]
            diff = self.call("GET", f"/trees/main@{head}/diff/{name}@{tip}?max-records=250")["diffs"]
            assert self.call("GET", "/trees/main")["reference"]["hash"] == head
            operations = [{"type": "PUT", "key": d["key"], "content": d["to"]} for d in diff]
            self.call(
                "POST",
                f"/trees/main@{head}/history/commit",
                {"commitMeta": {"message": "publish"}, "operations": operations},
            )
            tip = self.call("GET", f"/trees/{name}")["reference"]["hash"]
            self.call("DELETE", f"/trees/{name}@{tip}?type=BRANCH")


def deepen(raw: Raw, depth: int) -> None:
    """Publish one table until main's history is about `depth` commits longer, without more tables."""
    for number in range(depth):
        keys = {"requestedKeys": [{"elements": ["bench", "deep"]}]}
        found = raw.call("POST", "/trees/main/contents", keys)["contents"]
        known = Content("ICEBERG_TABLE", found[0]["content"]) if found else None
        head = raw.call("GET", "/trees/main")["reference"]["hash"]
        made = dict(content(number, known).raw)
        operation = {"type": "PUT", "key": {"elements": ["bench", "deep"]}, "content": made}
        body = {"commitMeta": {"message": "deepen"}, "operations": [operation]}
        raw.call("POST", f"/trees/main@{head}/history/commit", body)


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    depths = (0, 200) if options.quick else (0, 1_000, 10_000)
    times = 10 if options.quick else 50
    rows: list[Row] = []
    first: list[float] = []
    with project() as settings:
        nessie, raw = Nessie.of(settings), Raw(settings.nessie)
        nessie.commit(BranchName("main"), nessie.head("main"), [put_namespace("bench")], "namespace")
        through_the_door(nessie, 1)
        reached = 0
        for depth in depths:
            deepen(raw, depth - reached)
            reached = depth
            door = interleave(
                {"door": lambda: through_the_door(nessie, times), "raw": lambda: raw.loop(times)}, options.rounds
            )
            first = first or door["door"]
            loops = times / (sum(door["door"]) / len(door["door"]))
            rows.append(
                Row(
                    f"rate of the raw calls, at depth {depth:,}",
                    f"{ratio(door['raw'], door['door']):.2f} x ({loops:.0f} loops a second)",
                    ">= 0.9 x",
                )
            )
        flat = sorted(door["door"])[len(door["door"]) // 2] / sorted(first)[len(first) // 2]
        rows.append(Row(f"time of a loop at depth {depths[-1]:,}, against depth 0", f"{flat:.2f} x", "flat"))
    report(
        "b02_loop",
        "B2: the protocol's loop against raw requests",
        f"{times} loops a round, {options.rounds} rounds",
        rows,
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
