from tests.integration.plc.conftest import Running
from trust.identity import Role


def test_services_are_found_where_they_announced_themselves(plc: Running) -> None:
    agent, svm = plc.member(Role.AGENT, "princeton"), plc.member(Role.SVM, "lab")
    agent.announce("https://127.0.0.1:4001")
    svm.announce("https://127.0.0.1:4002")

    found = plc.anyone().directory()

    assert [(entry.name, entry.url) for entry in found.agents if entry.name == "princeton"] == [
        ("princeton", "https://127.0.0.1:4001")
    ]
    assert found.svmd == "https://127.0.0.1:4002"
    assert found.svm == svm.identity
    assert found.ca_fingerprint == plc.ca_fingerprint
