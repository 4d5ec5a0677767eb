"""Faults found from outside, as they were: each takes its mend away again."""

from tests.faults.planted.bug import Bug, single_test

ONCE = (
    Bug(
        "of two records of one sliver in a group commit one is dropped",
        "lifecycle/rounds.py",
        "        named[key] += 1\n",
        "",
        single_test("tests/integration/lifecycle/test_groups.py::test_a_renewal_and_a_key_of_one_sliver_are_both_kept"),
        "assert",
    ),
    Bug(
        "with a full disk rights are not taken away before that is written",
        "nodemgr/storage/database.py",
        "            if self._ahead is None:\n                raise",
        "            if self._said:\n                raise",
        single_test("tests/unit/nodemgr/test_watch.py::test_keys_are_taken_away_although_nothing_can_be_written"),
        "assert",
    ),
    Bug(
        "expiry waits for removals",
        "nodemgr/expiry.py",
        "                self.look()\n            await",
        "                await self.tick()\n            await",
        single_test("tests/unit/nodemgr/test_stuck.py::test_a_lease_ends_in_time_while_removals_hang"),
        "TimeoutError",
    ),
    Bug(
        "a stop of plc's is tried once",
        "nodemgr/stops.py",
        "node.halted[lease.slice_id] = False",
        "node.halted[lease.slice_id] = True",
        single_test("tests/unit/nodemgr/test_stuck.py::test_a_stop_that_failed_is_repeated_until_it_is_done"),
        "TimeoutError",
    ),
    Bug(
        "a torn record of one sliver stops the node manager",
        "nodemgr/slivers/inside/folder.py",
        "except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:",
        "except OSError as error:",
        single_test(
            "tests/integration/slivers/test_damage.py"
            "::test_a_record_that_cannot_be_read_costs_its_own_sliver_alone[unshare--sliver.json]"
        ),
        "JSONDecodeError",
    ),
    Bug(
        "a sliver whose first process died is said to run",
        "nodemgr/liveness.py",
        "await node.driver.ended(meant)",
        "await node.driver.ended([])",
        single_test("tests/unit/nodemgr/test_liveness.py::test_it_goes_back_to_its_lease_and_its_sessions_end"),
        "assert",
    ),
    Bug(
        "a key set older than the node's is refused for ever",
        "tasks/newest.py",
        "or tries == TRIES:",
        "or tries == 1:",
        single_test(
            "tests/integration/tasks/test_restored.py"
            "::test_a_key_is_added_and_those_that_the_dump_does_not_have_are_gone"
        ),
        "assert",
    ),
    Bug(
        "key sets of the same generation are not compared",
        "tasks/reconcile.py",
        "return row.settled and other",
        "return False",
        single_test("tests/integration/tasks/test_restored.py::test_reconcile_sees_another_set_of_the_same_generation"),
        "assert",
    ),
    Bug(
        "a surprise in background work keeps its place for good",
        "tasks/concurrency_limit.py",
        """                with surviving("background work failed unexpectedly; the sweep finds its steps"):
                    following()
                following = self._next()
        except BaseException:
            with self._lock:
                self._running -= 1
            raise
""",
        """                following()
                following = self._next()
        finally:
            pass
""",
        single_test("tests/unit/tasks/test_concurrency_limit.py::test_work_that_fails_gives_its_place_to_what_waits"),
        "assert",
    ),
    Bug(
        "steps are lost that no connection was free for",
        "tasks/step.py",
        "from sqlalchemy.exc import SQLAlchemyError",
        "from sqlalchemy.exc import DBAPIError as SQLAlchemyError",
        single_test("tests/integration/tasks/test_surprises.py::test_without_a_free_connection_no_step_is_lost"),
        "assert",
    ),
)
