"""What a client error means. The only file that catches and interprets KafkaException.

RETRY: repeat the call, until a deadline. ABORT: abort the transaction and run the same batch again.
REBUILD: the transaction's end is unknown; new producer, then the committed offsets decide.
CONSUMER_LOST: a new consumer, then the committed offsets decide. EXIT: this process must end
(fenced by a newer instance, not allowed, offsets lost).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message

from engine.clock import Clock

P = ParamSpec("P")
S = TypeVar("S", bound=enum.Enum)
T = TypeVar("T")

RETRY_PAUSE_S: Final = 0.05
OFFSETS_LOST: Final = "OFFSETS_LOST"  # a position is not on the log


class Step(enum.Enum):
    """Which call failed: the same code means different things at different steps."""

    INIT = "init"  # init_transactions
    WORK = "work"  # begin, produce, flush: the transaction has not been ended yet
    OFFSETS = "offsets"  # send_offsets: as above, but a late request could join the next one
    END = "end"  # commit or abort: after an error it is unknown
    READ = "read"  # consumer calls, metadata, watermarks


class EngineError(Exception):
    """Base of the five meanings; `code` is the client's error name, `detail` is for the log."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class Retry(EngineError):
    """The same call may be repeated."""


class Abort(EngineError):
    """Abort and run the same batch again. `by_content`: a record of the batch itself is refused."""

    def __init__(self, code: str, detail: str = "", *, by_content: bool = False) -> None:
        super().__init__(code, detail)
        self.by_content = by_content


class LostMembership(Abort):
    """The group has rebalanced: abort, drop the batch, and continue from the committed offsets."""


class Rebuild(EngineError):
    """The end of the transaction is unknown, or this producer is no longer usable."""


class ConsumerLost(EngineError):
    """This consumer is no longer usable: it was fenced in its group, the client has failed
    permanently, or it no longer reaches the brokers.
    """


class Exit(EngineError):
    """This process must end; `code` gives the reason."""


class Fenced(Exit):
    """Another producer has taken our transactional id, or the coordinator gave up on this one."""


class WrongOrder(Exception):
    """A move that the status does not allow: a defect in this code."""


def check_move(who: str, moves: Mapping[S, Collection[S]], before: S, after: S) -> None:
    """`moves` has the statuses that may follow each one. Raises WrongOrder for any other."""
    if after not in moves[before]:
        raise WrongOrder(f"{who} cannot go from {before.name} to {after.name}")


_FENCED: Final = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
)
_FORBIDDEN: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        # A member of the group uses another assignor: one payment's inputs would go to two members.
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    }
)
_CONTENT: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.POLICY_VIOLATION,
    }
)
_MEMBERSHIP: Final = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,
    }
)
# The group's coordinator does not know in which transaction of this producer a late request for
# offsets was made: it could join the next one.
_NO_ANSWER: Final = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
    }
)
# The batch on the log is unreadable: another client cannot read it either.
_UNREADABLE: Final = frozenset(
    {
        KafkaError._BAD_COMPRESSION,
        KafkaError._BAD_MSG,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
NO_OFFSET: Final = -1
_OFFSETS_LOST: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


def classify(error: KafkaError, step: Step) -> EngineError:
    """The meaning of one client error at one step."""
    code = error.code()
    name, detail = error.name(), error.str()
    if code in _FENCED:
        return Fenced(name, detail)
    if code in _FORBIDDEN:
        return Exit(name, detail)
    if code in _OFFSETS_LOST:
        return Exit(OFFSETS_LOST, detail)
    if code == KafkaError.FENCED_INSTANCE_ID:
        # Not only a second process causes it: a client that was cut off for a session's length
        # fences itself, by a late heartbeat without its member id. A second process shows by the
        # frequency.
        lost = LostMembership if step in (Step.WORK, Step.OFFSETS) else ConsumerLost
        return lost(name, detail)
    if step is Step.READ and (error.fatal() or code == KafkaError._FATAL):
        return ConsumerLost(name, detail)
    if code in _MEMBERSHIP and step in (Step.WORK, Step.OFFSETS) and not error.fatal():
        return LostMembership(name, detail)
    if code in _NO_ANSWER and step is Step.OFFSETS:
        return Rebuild(name, detail)
    if step is Step.READ or step is Step.INIT:
        # Nothing is open: everything that is not forbidden is retried until the caller's deadline.
        return Rebuild(name, detail) if error.fatal() else Retry(name, detail)
    if step is Step.END or error.fatal():
        if error.txn_requires_abort() and not error.fatal():
            # The broker refused before the transaction's end was decided: it can still be aborted.
            return Abort(name, detail, by_content=code in _CONTENT)
        return Rebuild(name, detail)
    return Abort(name, detail, by_content=code in _CONTENT)


def refuses_content(error: KafkaError) -> bool:
    """Whether the record itself was refused: it is certainly not in the log, and publishing it
    again does not help.
    """
    return error.code() in _CONTENT


def call(step: Step, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make one client call; raises one of the five meanings instead of KafkaException."""
    try:
        return function(*args, **kwargs)
    except KafkaException as exception:
        raise classify(_error_of(exception), step) from exception
    except SystemError as exception:
        # The client raises a fatal error between two callbacks but still calls the second.
        cause = exception.__cause__
        if not isinstance(cause, KafkaException):
            raise
        raise classify(_error_of(cause), step) from exception


def call_until(
    clock: Clock,
    deadline_s: float,
    step: Step,
    function: Callable[..., T],
    *args: Any,
    **kwargs: Any,
) -> T:
    """Repeat a client call while it raises RETRY, until `deadline_s` (monotonic seconds).

    Raises Exit after the deadline, and every other meaning at once.
    """
    while True:
        try:
            return call(step, function, *args, **kwargs)
        except Retry as error:
            if clock.monotonic_s() >= deadline_s:
                raise Exit(error.code, f"still failing at the deadline: {error.detail}") from error
            clock.sleep(RETRY_PAUSE_S)


class PartitionError(NamedTuple):
    """An error that a client reports for one partition in place of a record. Its other partitions
    may be fine.
    """

    topic: str
    partition: int
    offset: int  # of the batch that it cannot return; negative if unknown
    code: str
    words: str  # the client's
    lasts: bool  # waiting does not help: every reader of this log gets it

    def __str__(self) -> str:
        where = f"{self.topic} partition {self.partition} at offset {self.offset}"
        return f"{where}: {self.code}: {self.words}"


def check_message_error(message: Message) -> PartitionError | None:
    """Handle an error delivered in place of a record. Raises Exit or ConsumerLost if waiting does
    not help; returns the error of one partition, or None for one about the client's connections.
    """
    error = message.error()
    if error is None:
        raise ValueError("a record")
    found = _partition_error(message, error)
    meaning = classify(error, Step.READ)
    if isinstance(meaning, (Exit, ConsumerLost)):
        raise type(meaning)(meaning.code, str(found)) if found is not None else meaning
    return found


def out_of_range(message: Message) -> PartitionError | None:
    """The error for a position that is not on the log (any more); None for all others."""
    error = message.error()
    if error is None or error.code() not in _OFFSETS_LOST:
        return None
    return _partition_error(message, error)


def _partition_error(message: Message, error: KafkaError) -> PartitionError | None:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or partition < 0:
        return None
    at = NO_OFFSET if offset is None else offset
    lasts = error.code() in _UNREADABLE
    return PartitionError(topic, partition, at, error.name(), error.str(), lasts)


def is_end_of_partition(error: KafkaError) -> bool:
    """True for the client's end-of-partition event."""
    return bool(error.code() == KafkaError._PARTITION_EOF)


def _error_of(exception: KafkaException) -> KafkaError:
    error = exception.args[0] if exception.args else None
    if isinstance(error, KafkaError):
        return error
    return KafkaError(KafkaError._FAIL, str(exception))
