"""The one table of moves between a sliver's states. Pure: no I/O.

```
            newleases            newvms
 ticketed ───────────▶ leased ───────────▶ running ──┐ renew: lease replaced, generation + 1
 (tickets/)            (leases/)           (vms/)  ◀─┘
     │                    │ ◀──── stop ───────│ its node says that the VM has ended by itself
     │                    │                   │
     ├────────────────────┴───────────────────┴── ticket or lease runs out ──▶ expired
     │                    └───────────────────┴── remove: plc's operator had its node remove it ──▶ expired
     └── deleteslice, or replaced by another node ──▶ deleting ── node agreed, or lease end + grace ──▶ deleted
 expired | deleted ──▶ ticketed       a new ticket; the generation goes on counting
```

Who acts next: ticketed: newleases, before the ticket ends. leased: newvms, before the lease ends. running: renew.
deleting: delete, then reconcile. expired, deleted: createslice or clean.
"""

from dataclasses import dataclass

from models.states import LIVE, Kind, SliverState


@dataclass(frozen=True, slots=True)
class Move:
    """From which states a sliver may move, and where to; `to` None = it stays where it is."""

    sources: tuple[SliverState, ...]
    to: SliverState | None


# The table. Steps move slivers by their kind; the other moves are named as in the drawing above.
MOVES: dict[str, Move] = {
    Kind.NEWTICKETS: Move((SliverState.EXPIRED, SliverState.DELETED), SliverState.TICKETED),
    Kind.REPLACE: Move((SliverState.EXPIRED, SliverState.DELETED), SliverState.TICKETED),
    Kind.NEWLEASES: Move((SliverState.TICKETED,), SliverState.LEASED),
    Kind.NEWVMS: Move((SliverState.LEASED,), SliverState.RUNNING),
    Kind.ADDKEY: Move((SliverState.RUNNING,), None),
    Kind.DELKEY: Move((SliverState.RUNNING,), None),
    Kind.NUKEKEYS: Move((SliverState.RUNNING,), None),
    Kind.REKEY: Move((SliverState.RUNNING,), None),
    Kind.RENEW: Move((SliverState.LEASED, SliverState.RUNNING), None),
    Kind.DELETE: Move((SliverState.DELETING,), SliverState.DELETED),
    "stop": Move((SliverState.RUNNING,), SliverState.LEASED),
    "remove": Move((SliverState.LEASED, SliverState.RUNNING), SliverState.EXPIRED),
    "expire": Move(LIVE, SliverState.EXPIRED),
    "condemn": Move((*LIVE, SliverState.EXPIRED), SliverState.DELETING),
}
