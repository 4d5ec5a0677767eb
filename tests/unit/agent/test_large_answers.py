"""What an agent may answer fits what its clients take."""

from uuid import UUID

from agent.client import FrontDoor, Promise, Tickets, tickets_to_json
from agent.settings import Settings
from rpc.reply import MAX_BODY
from tests.unit.trust import factories as make
from tests.unit.trust.factories import AGENT
from trust.documents import sign_ticket
from trust.identity import Role
from trust.sshkeys import new_ssh_key_pair


def test_as_many_tickets_as_an_owner_may_have_fit_an_answer() -> None:
    ticket = make.ticket(node=make.NODE)
    token = sign_ticket(ticket, make.key_of(Role.AGENT), make.certificate_of(AGENT))
    door = FrontDoor("255.255.255.255", 65_535, new_ssh_key_pair("")[1])
    one = Promise(
        "n" * 64, "255.255.255.255", "https://255.255.255.255:65535", door, "j" * 36, token, ticket.expires_at
    )
    most = Settings.model_fields["tickets_per_user"].default
    answer = tickets_to_json(Tickets(UUID(int=0), AGENT.name, (one,) * most))
    assert len(answer) < MAX_BODY
