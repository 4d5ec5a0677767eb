"""What the harness found when it was new (docs/faults.md, "What it found"), as it was then."""

from tests.faults.planted.bug import Bug, single_test

FOUND = (
    Bug(
        "a request for tickets whose answer was lost is another one when it is asked again",
        "tasks/newtickets.py",
        "asked = [self.granted_before, name,",
        "asked = [str(self.claim.operation), name,",
        single_test(
            "tests/integration/tasks/test_faults.py"
            "::test_tickets_whose_answer_was_lost_for_good_are_those_of_the_next_try"
        ),
        "assert",
    ),
    Bug(
        "a node with an old database refuses every renewal",
        "nodemgr/admission.py",
        "if current <= asked_from:",
        "if current == asked_from:",
        single_test("tests/integration/tasks/test_reconcile.py::test_a_renewal_that_a_node_has_lost_is_made_again"),
        "assert",
    ),
    Bug(
        "reconcile learns of no renewal whose answer was lost",
        "tasks/reconcile.py",
        "if row.settled and item.generation != row.generation:",
        "if row.settled and item.generation < row.generation:",
        single_test("tests/unit/tasks/test_reconcile.py::test_a_lease_whose_answer_was_lost_is_asked_for_again"),
        "assert",
    ),
    Bug(
        "workers look for no lost steps when the broker is back",
        "workers/republisher.py",
        "        worker_context().missed.set()",
        "        worker_context().missed.clear()",
        single_test(
            "tests/integration/workers/test_republisher.py"
            "::test_what_was_asked_for_while_the_broker_was_away_begins_when_it_is_back"
        ),
        "assert",
    ),
    Bug(
        "a node whose only sliver was deleted is never asked for orphans",
        "lifecycle/inventory.py",
        "(v.state <> 'deleted' OR v.changed_at > now() - interval '1 day'))",
        "v.state <> 'deleted')",
        single_test(
            "tests/integration/tasks/test_reconcile.py::test_what_is_there_again_after_its_deletion_is_reported"
        ),
        "assert",
    ),
    Bug(
        "what came back after its owner's delegation was gone is tried to be deleted, in silence",
        "tasks/reconcile.py",
        "if row is None or (row.state is SliverState.DELETED and row.delegation is None):",
        "if row is None:",
        single_test("tests/unit/tasks/test_reconcile.py"),
        "test_what_came_back_after_its_owners_permission_had_gone_is_reported",
    ),
)
