"""Beat keeps nothing that a crash can tear, and svmd sees whether it and the workers live."""

import dbm

from lifecycle.roles import roles
from rpc.credentials import Credentials
from tests.integration.tasks.farm import until
from tests.integration.workers.crew import KILL, Crew

CANARY_DONE = "SELECT 1 FROM svm.operation WHERE verb = 'canary' AND outcome = 'done' AND actor = 'beat'"
SILENCE = 5


def test_a_damaged_schedule_file_cannot_matter(crew: Crew, owner: Credentials) -> None:
    """As a torn write of Celery's own scheduler leaves it: the file opens, its record cannot be read."""
    path = crew.farm.lab.svm_credentials.directory / "beat-schedule"
    with dbm.open(str(path), "n") as torn:
        torn["entries"] = b"\x80\x04\x95\xff"
    before = {each: each.read_bytes() for each in path.parent.glob("beat-schedule*")}
    crew.daemon("worker")
    beat = crew.daemon("beat", DSLICE_CANARY_SECONDS="1")
    until(lambda: bool(crew.farm.rows(CANARY_DONE)))
    assert beat.process.is_alive()
    assert before
    for each, content in before.items():
        assert each.read_bytes() == content
        each.unlink()


def test_what_users_wait_for_is_asked_for_at_each_start(crew: Crew, owner: Credentials) -> None:
    crew.daemon("worker")
    for _ in range(2):
        crew.farm.execute("DELETE FROM svm.operation WHERE verb = 'canary'")
        beat = crew.daemon("beat", DSLICE_CANARY_SECONDS="3600")
        until(lambda: bool(crew.farm.rows(CANARY_DONE)))
        beat.signal(KILL)
        beat.ended()


def test_who_is_dead_is_told_from_who_lives(crew: Crew) -> None:
    def dead() -> set[str]:
        with crew.farm.database.connect() as connection:
            return {each.name for each in roles(connection, silence=SILENCE, watched=float("inf")) if not each.ok}

    assert dead() == {"worker"}
    worker = crew.daemon("worker", DSLICE_STUCK_SECONDS="2")
    beat = crew.daemon("beat", DSLICE_CANARY_SECONDS="1")
    until(lambda: not dead())
    beat.signal(KILL)
    until(lambda: dead() == {"beat"})
    crew.daemon("beat", DSLICE_CANARY_SECONDS="1")
    until(lambda: not dead())
    worker.signal(KILL)
    until(lambda: dead() == {"worker"})
