"""beat's clean: however much has become history since the last look, all of it is forgotten."""

from rpc.credentials import Credentials
from tasks.clean import clean
from tests.integration.tasks.farm import Farm

MANY = """
    INSERT INTO svm.operation (verb, queue, owner, actor, parallelism, connect_timeout, batch, outcome, ended_at)
    SELECT 'renewslice', 'renewals', :owner, 'beat', 1, 1, 1, 'done', now() - interval '2 years'
    FROM generate_series(1, 1200)
"""


def test_more_history_than_one_transaction_takes_is_forgotten_in_one_look(farm: Farm, owner: Credentials) -> None:
    farm.execute(MANY, owner=owner.identity.uri)
    clean()
    assert farm.rows("SELECT count(*) FROM svm.operation WHERE owner = :o", o=owner.identity.uri) == [(0,)]
