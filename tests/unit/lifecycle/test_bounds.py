"""Every table has something that keeps one caller from filling it, and it is said here what."""

from typing import get_args

import pytest

from models.database import Schema, metadata

# What a caller makes a row of, how many of them he may, and where that is refused or forgotten. Rows that only the
# operator makes have no bound but his patience; he is said to.
BOUNDS = {
    "agent.ad": "one for each node, which plc enrolled; silent for 90 days: agent.tickets.purge",
    "agent.drain": "the operator's, one for each node",
    "agent.registration": "one for each name, of which plc gives an owner so many: plc.names",
    "agent.request": "DSLICE_TICKETS_PER_USER of an owner within an hour: agent.places; after it: agent.tickets.purge",
    "agent.ticket": "DSLICE_TICKETS_PER_USER of an owner until redeemed or past their end: agent.places",
    "plc.account": "MOST_REQUESTED of a site until a PI enables them, and 50 of an address: plc.accounts, plc.throttle",
    "plc.certificate": "PER_HOUR of an identity: plc.ca; ended long ago: plc.forgetting",
    "plc.certificate_request": "REQUESTS_PER_HOUR of an account: plc.certificates; decided long ago: plc.forgetting",
    "plc.drain": "the operator's, one for each node",
    "plc.enrolment_token": "the operator's; an hour old: plc.enrolment.purge_tokens",
    "plc.event": "PER_HOUR of a user: plc.journal; old: plc.forgetting",
    "plc.letter": "with an event each, and one a day for a repeated sign-up: plc.accounts; old: plc.forgetting",
    "plc.removal": "the operator's, for as long as a lease lasts: plc.removals",
    "plc.revocation_list": "one",
    "plc.service": "the operator's, by tokens",
    "plc.site": "an admin's",
    "plc.slice_agent": "one for each name and agent: plc.names",
    "plc.slice_name": "DSLICE_NAMES_PER_USER of an owner, ten times as many within an hour: plc.names, plc.forgetting",
    "plc.ssh_key": "MOST_KEYS of an account: plc.keys",
    "plc.throttle": "20 attempts of an address, then one in minutes: plc.throttle, which forgets them after an hour",
    "plc.usage": "two for each lease that a node grants, which its places bound; old: plc.forgetting",
    "svm.delivery": "a letter for each notice; one an hour for each state of a hook, kept 30 days: lifecycle.outbox",
    "svm.event": "so many for each step: lifecycle.unit_of_work; with its operation",
    "svm.finding": "one for each sliver that a node reports or the tables have: lifecycle.inventory",
    "svm.hook": "MOST_HOOKS of a slice: lifecycle.hooks; a week after its end: lifecycle.retention",
    "svm.node": "one for each node that gave a ticket: lifecycle.inventory",
    "svm.notice": "two warnings for each deadline of a slice: lifecycle.notices; with its slice",
    "svm.operation": "MOST_OPERATIONS of an owner within an hour: lifecycle.bounds; old: DSLICE_HISTORY_DAYS",
    "svm.slice": "MOST_SLICES of an owner: lifecycle.bounds; deleted long ago: DSLICE_HISTORY_DAYS",
    "svm.slice_key": "MOST_KEYS of a slice: lifecycle.bounds",
    "svm.sliver": "one for each node of a slice; with its slice",
    "svm.step": "a few for each node of an operation; with its operation",
    "svm.worker": "one for each worker, until it ends or is missed: lifecycle.presence",
}


@pytest.mark.parametrize("schema", get_args(Schema))
def test_every_table_is_bounded(schema: Schema) -> None:
    assert {name for name in BOUNDS if name.startswith(f"{schema}.")} == set(metadata(schema).tables)
