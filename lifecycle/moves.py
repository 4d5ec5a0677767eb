"""The one table of moves between a sliver's states. Pure: no I/O.

```
            newleases            newvms              stop, or its node says that it does not run
 ticketed ───────────▶ leased ───────────▶ running ──────────────────────────────────▶ stopped
 (tickets/)            (leases/)           (vms/)   ◀────────────────────────────────── (vms/)
     │                    │                   │   start, restart, newvms, or its node says so │
     │                    │                   │                                               │
     ├────────────────────┴───────────────────┴──── ticket or lease runs out ──▶ expired ◀────┤
     └── deleteslice, shrink, or replaced by another node ──▶ deleting ── node agreed, or lease end + grace ──▶ deleted
 expired | deleted ──▶ ticketed       a new ticket; the generation goes on counting
```

renew replaces the lease of one that is leased, running or stopped: generation + 1, the state stays.

Who acts next: ticketed: newleases, before the ticket ends. leased: newvms, before the lease ends. running: renew.
stopped: start, by its owner, or by beat where it ended by itself and the slice heals. deleting: delete, then
reconcile. expired, deleted: createslice or clean.
"""

from dataclasses import dataclass

from models.states import LEASED, LIVE, WITH_VM, Kind, SliverState


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
    Kind.NEWVMS: Move((SliverState.LEASED, SliverState.STOPPED), SliverState.RUNNING),
    Kind.ADDKEY: Move(WITH_VM, None),
    Kind.DELKEY: Move(WITH_VM, None),
    Kind.NUKEKEYS: Move(WITH_VM, None),
    Kind.REKEY: Move((SliverState.RUNNING,), None),
    Kind.STOP: Move(WITH_VM, SliverState.STOPPED),
    Kind.START: Move(WITH_VM, SliverState.RUNNING),
    Kind.RESTART: Move(WITH_VM, SliverState.RUNNING),
    Kind.RESET: Move(WITH_VM, None),
    Kind.RENEW: Move(LEASED, None),
    Kind.DELETE: Move((SliverState.DELETING,), SliverState.DELETED),
    "found stopped": Move((SliverState.RUNNING,), SliverState.STOPPED),
    "found running": Move((SliverState.STOPPED,), SliverState.RUNNING),
    "remove": Move(LEASED, SliverState.EXPIRED),  # by the order of plc's operator
    "expire": Move(LIVE, SliverState.EXPIRED),
    "condemn": Move((*LIVE, SliverState.EXPIRED), SliverState.DELETING),
}
