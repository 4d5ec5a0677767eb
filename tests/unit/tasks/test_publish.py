"""From steps to messages."""

from hypothesis import given
from hypothesis import strategies as st

from lifecycle.steps import StepRef
from models.states import Kind, Queue
from tasks.publish import grouped

refs = st.builds(
    StepRef, st.sampled_from(Kind), st.integers(1, 10**6), st.sampled_from(Queue), st.sampled_from([1, 4, 16])
)


def test_small_operations_send_a_message_a_node() -> None:
    found = list(grouped([StepRef(Kind.RENEW, id, Queue.RENEWALS) for id in range(3)]))
    assert [(kind, queue, [ref.id for ref in refs]) for kind, queue, refs in found] == [
        (Kind.RENEW, Queue.RENEWALS, [id]) for id in range(3)
    ]


def test_large_ones_share_messages() -> None:
    found = list(grouped([StepRef(Kind.RENEW, id, Queue.RENEWALS, 16) for id in range(40)]))
    assert [len(ids) for _, _, ids in found] == [16, 16, 8]


@given(st.lists(refs, max_size=80))
def test_every_step_is_in_exactly_one_message_of_its_kind_and_queue(steps: list[StepRef]) -> None:
    found = [(kind, queue, ref.id) for kind, queue, refs in grouped(steps) for ref in refs]
    assert sorted(found) == sorted((ref.kind, ref.queue, ref.id) for ref in steps)
    assert all(1 <= len(ids) <= 16 for _, _, ids in grouped(steps))
