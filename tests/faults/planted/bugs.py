"""The planted bugs."""

from tests.faults.planted.bug import MACHINE, Bug, case, property_of, single_test
from tests.faults.planted.found import FOUND
from tests.faults.planted.once import ONCE

NODE_MACHINE = "tests/unit/nodemgr/test_machine.py"
TOGETHER = case("verbs side by side")
_CLAIMS = """FROM svm.step s JOIN unnest(CAST(:ids AS bigint[]), CAST(:tokens AS uuid[])) AS c(id, token)
        ON s.id = c.id"""

THOUGHT_OF = (
    Bug(
        "a claim that holds is taken over",
        "lifecycle/outcome.py",
        "OR (state = 'running' AND claim_until < now()))",
        "OR state = 'running')",
        property_of(MACHINE, "a claim is its worker's alone until it lapses"),
        "was claimed while another worker held it",
    ),
    Bug(
        "a record counts without its claim's token",
        "lifecycle/record.py",
        f"SELECT s.id, s.claim_token\n    {_CLAIMS} AND s.claim_token = c.token",
        f"SELECT s.id, c.token AS claim_token\n    {_CLAIMS}",
        single_test("tests/integration/lifecycle/test_steps.py::test_a_record_under_another_token_is_ignored"),
        "assert",
    ),
    Bug(
        "the sweep passes over claims that have lapsed",
        "lifecycle/recovery.py",
        "OR (s.state = 'running' AND s.claim_until < now()",
        "OR (s.state = 'running' AND s.claim_until IS NULL",
        property_of(MACHINE, "I3: every operation ends"),
        "I3: sweeps alone do not end it",
    ),
    Bug(
        "steps of a slice that is being deleted are still taken",
        "lifecycle/outcome.py",
        "NOT EXISTS (SELECT 1 FROM svm.slice WHERE slice.id = s.slice AND slice.state <> 'open'))",
        "true)",
        single_test(
            "tests/integration/lifecycle/test_steps.py::test_nothing_but_deletion_is_claimed_once_it_has_begun"
        ),
        "assert",
    ),
    Bug(
        "a ticket is burnt after the transaction that writes its lease",
        "nodemgr/node.py",
        "            self.store.burn(burnt)\n            self.store.put(lease)\n",
        "            self.store.put(lease)\n        self.store.burn(burnt)\n",
        property_of(NODE_MACHINE, "I2: a ticket makes one lease"),
        "FOREIGN KEY constraint failed",
    ),
    Bug(
        "a deletion does not burn the ticket",
        "nodemgr/node.py",
        "if jti is not None and remembered:",
        "if jti is None and remembered:",
        single_test("tests/unit/nodemgr/test_redemption.py::test_a_ticket_deleted_before_it_was_redeemed_is_burnt"),
        "not refused with ticket-expired",
    ),
    Bug(
        "a sliver leaves the list of removals before it is removed",
        "nodemgr/node.py",
        '        async with deadline(f"removing the sliver of {slice}"):\n'
        "            await self.driver.delete(slice)\n"
        "        self.store.removed(slice)\n",
        "        self.store.removed(slice)\n"
        '        async with deadline(f"removing the sliver of {slice}"):\n'
        "            await self.driver.delete(slice)\n",
        single_test(
            "tests/unit/nodemgr/test_deletion.py"
            "::test_what_the_driver_cannot_remove_now_keeps_its_place_and_is_removed_later"
        ),
        "assert",
    ),
    Bug(
        "a node keeps only the keys that are new in a set",
        "nodemgr/node.py",
        "lines = [key.line for key in wanted.values()]",
        "lines = [key.line for key in wanted.values() if key.line not in lease.keys]",
        TOGETHER,
        "keys are lost",
    ),
    Bug(
        "a node takes an older key set",
        "nodemgr/node.py",
        "if generation < lease.key_generation or (generation == lease.key_generation and wanted != present):",
        "if generation == lease.key_generation and wanted != present:",
        single_test("tests/unit/nodemgr/test_keys.py::test_an_older_key_set_is_refused_and_the_same_one_is_not"),
        "not refused with stale-generation",
    ),
    Bug(
        "a renewal is answered and not written down",
        "nodemgr/node.py",
        "via=caller.svm or lease.via))\n            self.store.put(lease)\n        return lease",
        "via=caller.svm or lease.via))\n        return lease",
        TOGETHER,
        "a renewal is lost",
    ),
    Bug(
        "a deletion is answered and the lease stays",
        "nodemgr/node.py",
        "                self.store.forget(lease, self.now())\n        if lease is not None:\n",
        "                pass\n        if lease is not None:\n",
        TOGETHER,
        "there again",
    ),
    Bug(
        "a withdrawn certificate is taken",
        "trust/store.py",
        "revoked=known.serials if known else frozenset())",
        "revoked=frozenset())",
        single_test("tests/unit/trust/test_store.py"),
        "DID NOT RAISE",
    ),
    Bug(
        "a request that is repeated begins anew",
        "lifecycle/operations.py",
        "return Started(row.id, row.slice_name, [], existing=True) if row else None",
        "return None",
        single_test("tests/integration/lifecycle/test_lifecycle.py::test_the_same_request_again_is_the_same_operation"),
        "is under way on",
    ),
    Bug(
        "the sweep is never asked for",
        "workers/app.py",
        '        "sweep": (settings.sweep, Queue.INTERACTIVE),\n',
        "",
        single_test("tests/integration/workers/test_sweep.py::test_messages_lost_while_all_are_connected"),
        "it never came",
    ),
    Bug(
        "workers look for no lost steps when the database is back",
        "tasks/step.py",
        "        context.missed.set()",
        "        context.missed.clear()",
        single_test(
            "tests/integration/workers/test_republisher.py"
            "::test_messages_that_came_while_the_database_was_away_are_not_left_to_the_sweep"
        ),
        "it never came",
    ),
    Bug(
        "a deaf worker lives on",
        "workers/process.py",
        "        self._watchdog.start()\n",
        "",
        single_test(
            "tests/integration/workers/test_watchdog.py::test_a_deaf_worker_alone_ends_itself_and_its_successor_works"
        ),
        "it never came",
    ),
    Bug(
        "a dead worker's claims are left to lapse",
        "workers/presence.py",
        "if dead:",
        "if not dead:",
        single_test("tests/integration/workers/test_presence.py::test_what_a_killed_worker_had_goes_on_in_another"),
        "it never came",
    ),
    Bug(
        "beat asks for no canary",
        "workers/app.py",
        '        "canary-all": (settings.canary, Queue.HOUSEKEEPING),\n',
        "",
        single_test("tests/integration/workers/test_beat.py::test_who_is_dead_is_told_from_who_lives"),
        "it never came",
    ),
)

BUGS = (*ONCE, *FOUND, *THOUGHT_OF)
