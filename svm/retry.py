"""What to type after a partial failure: exact commands that can be pasted."""

from collections.abc import Sequence

from lifecycle.verbs import USER_VERBS, Takes
from models.states import Verb
from svm.flags import Flags
from svm.output import Retry, command
from svm.results import NodeResult
from trust.errors import Code

LISTED = 16
"""Failed nodes that the command lists by address; of more it takes all that wait, which are the same ones."""

LEFT_TO_ITSELF = "What could not be reached ends by itself, with its lease at the latest."


def retry_of(verb: str, name: str, flags: Flags) -> Retry | None:
    """What to type for the nodes that failed, as whoever asked for it was told, but for the file's name."""
    row = USER_VERBS.get(Verb(verb)) if verb in set(Verb) else None
    if row is None or not row.chain:
        return None
    if row.takes in (Takes.FILE, Takes.FILE_AND_OPTIONS):
        return lambda failures: whole_slice("FILE", name, failures, flags)
    if verb in (Verb.NEWLEASES, Verb.NEWVMS):
        return lambda failures: lower_commands(name, failures, flags)
    if row.takes is Takes.NODES:
        return lambda failures: same_nodes(verb, name, failures, flags)
    if row.takes is Takes.THESE_NODES:
        return lambda _failures: [LEFT_TO_ITSELF]
    file = ("KEYFILE",) if row.takes is Takes.KEYS else ()
    return lambda failures: again(command(verb, name, *file), failures, flags)


def same_nodes(verb: str, name: str, failures: Sequence[NodeResult], flags: Flags) -> list[str]:
    """The verb again on the nodes that failed."""
    failed = [result.node for result in failures if not _has_ended(result)]
    return again(command(*flags.words(), verb, name, *(failed if len(failed) <= LISTED else ())), failures, flags)


def same_again(flags: Flags, failures: Sequence[NodeResult] = ()) -> list[str]:
    """The command as it was typed, unless every node that failed needs another one."""
    return again(command(*flags.argv), failures, flags)


def again(text: str, failures: Sequence[NodeResult], flags: Flags) -> list[str]:
    """This command, for the nodes that it can still help."""
    lines = [] if failures and all(map(_has_ended, failures)) else [f"Try again with: {text}"]
    return lines + _anew(failures, flags)


def lower_commands(
    slice_name: str, failures: Sequence[NodeResult], flags: Flags, *, only_leases: bool = False
) -> list[str]:
    """The howto's commands for handling partial failures: newleases and newvms for the nodes that wait for them.

    `only_leases`: what has its lease now waits for newvms, and did not fail.
    """
    living = [result for result in failures if not _has_ended(result)]
    tickets = [result.node for result in living if result.step == "newleases" or _has_no_lease(result)]
    waiting = [result.node for result in living if result.step in ("newleases", "newvms")]
    found = [(verb, nodes) for verb, nodes in (("newleases", tickets), ("newvms", waiting)) if nodes]
    lines = [
        command(*flags.words(), verb, slice_name, *(nodes if len(nodes) <= LISTED else ()))
        for verb, nodes in (found[:1] if only_leases else found)
    ]
    return (["Try again with:", *(f"  {text}" for text in lines)] if lines else []) + _anew(failures, flags)


def whole_slice(file: str, slice_name: str, failures: Sequence[NodeResult], flags: Flags) -> list[str]:
    """`lower_commands`, and how to have other nodes instead; a node without a ticket needs createslice again."""
    if any(result.step == "delete" for result in failures):
        failures = [result for result in failures if result.step != "delete"]
        return [LEFT_TO_ITSELF, *(whole_slice(file, slice_name, failures, flags) if failures else ())]
    lines = lower_commands(slice_name, [result for result in failures if not _has_ended(result)], flags)
    if any(result.step == "renew" for result in failures):
        failures = [result for result in failures if result.step != "renew"]
        lines.append(f"The new length of its lease begins with the next: {command('renewslice', slice_name)}")
    keyless = sum(result.step == "addkey" for result in failures)
    if keyless:
        lines.append(f"{keyless} running without their keys, which are sent again in a while; or use svm addkey")
    if len(failures) > keyless:
        other = command(*flags.words(), "createslice", "--replace", file)
        lines += ["Or take other nodes in their place:" if lines else "Take other nodes in their place:", f"  {other}"]
    return lines


def _anew(failures: Sequence[NodeResult], flags: Flags) -> list[str]:
    """For nodes whose ticket or lease has ended, which no other command can mend."""
    ended = sum(map(_has_ended, failures))
    file = command(*flags.words(), "createslice", "FILE")
    return [f"To make anew what has ended: {file}"] if ended else []


def _has_ended(result: NodeResult) -> bool:
    return result.code == Code.TICKET_EXPIRED


def _has_no_lease(result: NodeResult) -> bool:
    return result.step == "newvms" and result.code == Code.NOT_FOUND
