"""The harness sees what it is there to see: one breach at a time in evidence that is otherwise whole."""

from dataclasses import replace

import pytest

from tests.faults.evidence import Evidence, Lease, Row
from tests.faults.invariants import breaches

NODE, ID, GRACE = "127.1.1.1", "8c4a9a7e-0000-4000-8000-000000000001", 5
ROW = Row("demo", ID, "open", NODE, "running", 2, "t1", 1, 1, 1)
LEASE = Lease(NODE, "demo", ID, "t1", 2, 1, "running", -100)
WHOLE = Evidence([ROW], [LEASE], [("t1", NODE)], frozenset({("demo", ID, NODE)}), frozenset(), [(ID, NODE, 1)], [])
OTHER = "8c4a9a7e-0000-4000-8000-000000000002"


def test_what_agrees_is_good() -> None:
    assert breaches(WHOLE, grace=GRACE) == []


@pytest.mark.parametrize(
    ("found", "what", "why"),
    [
        (replace(WHOLE, leases=[], slivers=frozenset()), "lost", "no lease at the node"),
        (replace(WHOLE, slivers=frozenset()), "lost", "no sliver at the node"),
        (replace(WHOLE, leases=[replace(LEASE, keys=0)]), "lost", "key set 0"),
        (replace(WHOLE, rows=[replace(ROW, pair=1)]), "lost", "key pair 0"),
        (replace(WHOLE, leases=[replace(LEASE, generation=1)]), "lost", "I4"),
        (replace(WHOLE, leases=[replace(LEASE, generation=3)]), "doubled", "generation 3 at the node"),
        (replace(WHOLE, leases=[replace(LEASE, jti="t2")]), "doubled", "I2"),
        (
            replace(WHOLE, rows=[replace(ROW, generation=3)], leases=[replace(LEASE, generation=3)]),
            "doubled",
            "by 1 operations",
        ),
        (replace(WHOLE, rows=[ROW, replace(ROW, slice_id=OTHER)]), "doubled", "I1: 2 live slivers in the table"),
        (replace(WHOLE, slivers=WHOLE.slivers | {("demo", OTHER, NODE)}), "doubled", "I1: 2 slivers at the node"),
        (replace(WHOLE, slivers=WHOLE.slivers | {("old", OTHER, NODE)}), "doubled", "I5: a sliver without a lease"),
        (replace(WHOLE, rows=[]), "doubled", "not in the table"),
        (replace(WHOLE, leases=[replace(LEASE, overdue=GRACE + 4)]), "doubled", "I5: alive"),
        (
            replace(WHOLE, leases=[LEASE, replace(LEASE, node="127.1.1.2")]),
            "doubled",
            "I2: 2 leases",
        ),
        (replace(WHOLE, burnt=[("t1", NODE), ("t1", "127.1.1.2")]), "doubled", "I2: burnt at 2 nodes"),
        (replace(WHOLE, promised=[(ID, NODE, 2)]), "doubled", "2 tickets"),
        (replace(WHOLE, twice=["ended of 1 said 2 times"]), "doubled", "said 2 times"),
    ],
)
def test_each_breach_is_seen(found: Evidence, what: str, why: str) -> None:
    seen = breaches(found, grace=GRACE)
    assert [breach for breach in seen if breach.what == what and why in breach.why], seen


def test_what_a_node_with_an_old_database_lacks_or_has_too_much_must_be_reported() -> None:
    back = replace(WHOLE, put_back={NODE: 1})
    lacking = replace(back, leases=[], slivers=frozenset())
    assert breaches(lacking, grace=GRACE)
    assert breaches(replace(lacking, reported=frozenset({("demo", NODE, "missing")})), grace=GRACE) == []
    orphan = replace(back, rows=[], slivers=frozenset())
    assert breaches(orphan, grace=GRACE)
    assert breaches(replace(orphan, reported=frozenset({("demo", NODE, "orphan")})), grace=GRACE) == []


def test_what_is_about_to_be_removed_is_no_breach() -> None:
    row = replace(ROW, state="deleted")
    going = replace(WHOLE, rows=[row], leases=[], removals=WHOLE.slivers)
    assert breaches(going, grace=GRACE) == []
