"""One request on its way through the API: its input, its table, and the one answer it gets.

Owns the rules that all operations share: an answer goes out exactly once; whatever an operation raises, at once or in
a later callback, becomes an error answer; a table that the router does not know, or that turns out to be gone, is
looked up in the catalog before the client hears ResourceNotFoundException (issue 2, item 2).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gramme.api import tasks
from gramme.api.dynamodb.errors import (
    ApiError,
    collection_full,
    condition_failed,
    internal_error,
    of_failure,
    overloaded,
    serialization,
    table_not_found,
    throttled,
    transaction_conflict,
    unreachable,
    validation,
)
from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.http import HttpRequest, HttpResponse, Respond
from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import CommandId
from gramme.kernel.md5 import md5
from gramme.kernel.time import MILLISECOND, Instant
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import CollectionFull, ConditionFailed, Conflict, Failed, FailureKind, Refused, Reply
from gramme.tables.values import WrongJsonType

if TYPE_CHECKING:
    from gramme.api.backend import Backend
    from gramme.api.dynamodb.counts import Counts
    from gramme.api.dynamodb.shapes import InputShape
    from gramme.kernel.ports import Clock, Randomness
    from gramme.tables.streams import StreamDescriptor

_READY: Final = ("ACTIVE", "UPDATING")
_MAX_LOOKUPS: Final = 2

Then = Callable[["Call", TableDescriptor], None]


class TableGone(Exception):
    """The incarnation of a table that an operation began with no longer exists."""


class Environment:
    """What every call needs of the endpoint."""

    __slots__ = ("_defer", "backend", "clock", "counts", "deadline_ns", "log", "rng", "settings", "streams")

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        rng: Randomness,
        settings: ApiSettings,
        log: Callable[[str, Exception | None], None],
        defer: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._defer = defer
        self.backend = backend
        self.clock = clock
        self.rng = rng
        self.settings = settings
        self.log = log
        self.deadline_ns = settings.request_deadline_ms * MILLISECOND
        self.counts: dict[str, Counts] = {}  # the last sums of a table (by TableId)
        self.streams: dict[tuple[str, str], StreamDescriptor] = {}  # by table and label (`streams.shards`)

    async def breathe(self) -> None:
        """Let the event loop serve others before going on."""
        if self._defer is not None:
            waiter: tasks.Waiter[None] = tasks.Waiter()
            self._defer(lambda: waiter(None))
            await waiter


class Call:
    """The state of one request. `body` is its parsed JSON, checked against the operation's shape."""

    # What most requests leave as it is stands here and not in `__init__`.
    table_name = ""
    table: TableDescriptor | None = None
    parsed: Any = None  # whatever the operation keeps between its steps
    _deadline: Instant | None = None
    _then: Then | None = None
    _lookups = 0

    def __init__(
        self, env: Environment, shape: InputShape, request: HttpRequest, body: dict[str, Any], headers: bytes,
        respond: Respond,
    ) -> None:  # fmt: skip
        """`headers` are the lines of the answer's headers, each with its CRLF."""
        self.env = env
        self.shape = shape
        self.request = request
        self.body = body
        self.headers = headers
        self.respond = respond

    @property
    def deadline(self) -> Instant:
        """Until when the request is tried. It counts from when it is first asked for: before the request leaves this
        part of the node, which one that is answered at once never does."""
        deadline = self._deadline
        if deadline is None:
            deadline = self._deadline = Instant(self.env.clock.instant() + self.env.deadline_ns)
        return deadline

    # --- answers

    def answer(self, body: bytes | list[bytes]) -> None:
        """Succeed with this JSON."""
        self.respond(HttpResponse(200, self.headers, body, crc=True))

    def fail(self, error: ApiError) -> None:
        """Answer with this error."""
        self.respond(HttpResponse(error.status, self.headers, error.body(), crc=True))

    def raised(self, error: Exception) -> None:
        """Answer with whatever an operation raised; what nobody foresaw is logged and becomes a bare 500."""
        if isinstance(error, ApiError):
            self.fail(error)
        elif isinstance(error, WrongJsonType):
            self.fail(serialization(str(error)))
        elif isinstance(error, InvalidInput):
            self.fail(validation(str(error)))
        else:
            self.env.log(f"{self.shape.operation} failed", error)
            self.fail(internal_error())

    def start(self, begin: Callable[[Call], None], typed: bool = False) -> None:
        """Check the input and begin the operation. A wrong JSON type anywhere comes before every other error.

        `typed`: JSON types have been checked already (`large`).
        """
        shape = self.shape
        try:
            if not shape.is_plain(self.body):
                self._check(shape, typed)
            begin(self)
        except Exception as error:  # noqa: BLE001 - the boundary of an operation: every error gets an answer
            self.raised(self._graver(error))

    def _check(self, shape: InputShape, typed: bool) -> None:
        if not typed:
            shape.check_types(self.body)
        shape.check_constraints(self.body)
        for member in shape.refused:
            if self.body.get(member) is not None:
                self.refuse(member)

    def _graver(self, error: Exception) -> Exception:
        if isinstance(error, InvalidInput) or (isinstance(error, ApiError) and error.name == "ValidationException"):
            try:
                self.shape.recheck(self.body)
            except ApiError as graver:
                return graver
        return error

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Drive a coroutine of this operation; what it raises is answered."""
        tasks.run(coroutine, self.raised)

    def refuse(self, member: str) -> None:
        """A member that this release cannot honour. Raises ApiError, or drops it with a line in the log where the
        operator asked for that."""
        if self.env.settings.unsupported == "refuse":
            raise validation(f"One or more parameter values were invalid: {member} is not supported yet")
        self.env.log(f"{self.shape.operation}: {member} is not supported yet and is ignored", None)
        del self.body[member]

    def refuse_enabled(self, member: str, flag: str) -> None:
        """As `refuse`, for a structure that asks for something only if its `flag` is true."""
        if (self.body.get(member) or {}).get(flag):
            self.refuse(member)

    # --- tables

    def with_table(self, then: Then) -> None:
        """Go on with `then(call, table)` as soon as the table of `TableName` is known."""
        env = self.env
        name = self.body["TableName"]
        if name.startswith("arn:"):
            name = env.settings.table_name(name)
        self.table_name = name
        self._then = then
        table = env.backend.table(name)
        if table is not None and table.status in _READY:
            self.table = table
            then(self, table)
        else:
            self._look_up()

    def _look_up(self) -> None:
        self._lookups += 1
        self.env.backend.lookup(self.table_name, self.deadline, self._found)

    def _found(self, found: TableDescriptor | Failed) -> None:
        try:
            if isinstance(found, Failed):
                raise self.failure(found)
            if found.status not in _READY:
                raise table_not_found()
            known = self.table
            # The same table in a newer version may have lost the index that was asked for: begin again with that.
            if known is not None and (known.table_id, known.version) == (found.table_id, found.version):
                raise unreachable()  # it exists, so "not found" would be a lie; nothing was applied
            self.table = found
            assert self._then is not None
            self._then(self, found)
        except Exception as error:  # noqa: BLE001 - as in `start`
            self.raised(error)

    def failure(self, failed: Failed, table: TableDescriptor | None = None) -> ApiError:
        """The error answer for a failure of `table`, by default the request's own; a bug or an unknown outcome leaves
        a line in the log."""
        if failed.kind is FailureKind.THROTTLED:
            return self._throttled(failed, table or self.table)
        if failed.kind in (FailureKind.INTERNAL, FailureKind.UNKNOWN):
            self.env.log(f"{self.shape.operation} on {self.table_name}: {failed.kind.name}: {failed.detail}", None)
        return of_failure(failed)

    def _throttled(self, failed: Failed, table: TableDescriptor | None) -> ApiError:
        if table is None or not failed.reason:
            return overloaded()
        resource = self.env.settings.table_arn(table.name)
        if failed.index:
            resource += f"/index/{failed.index}"
        return throttled(table.billing_mode == "PROVISIONED", failed.reason, resource)

    def refused(self, reply: Reply) -> None:
        """Answer a reply of a partition that is no success."""
        is_gone = isinstance(reply, Failed) and reply.kind is FailureKind.NO_TABLE
        if is_gone and self._then is not None and self._lookups < _MAX_LOOKUPS:
            self._look_up()  # the descriptor may be that of an earlier incarnation
        else:
            self.raised(self.refusal(reply))

    def refusal(self, reply: Reply, table: TableDescriptor | None = None) -> Exception:
        """The error that a reply of a partition of `table` (by default the request's own) means."""
        if isinstance(reply, Failed):
            return self.failure(reply, table)
        if isinstance(reply, ConditionFailed):
            return condition_failed(reply.item)
        if isinstance(reply, Refused):
            return validation(reply.message)
        if isinstance(reply, CollectionFull):
            return collection_full()
        if isinstance(reply, Conflict):
            return transaction_conflict()
        return TypeError(f"unexpected reply {type(reply).__name__}")

    # --- identity of writes

    def command_id(self, content: bytes, index: int = 0) -> CommandId | None:
        """The id of a write, the same when the SDK sends it again; None if the client names no invocation.

        Made of the SDK's invocation id, the access key and the operation, and what is written; `index` tells the
        parts of a batch apart. So two clients that draw the same invocation id cannot take each other's answer.
        """
        headers = self.request.headers
        invocation = headers.get(b"amz-sdk-invocation-id")
        if invocation is None:
            return None
        digest = md5(invocation)
        digest.update(b"\0%b\0%b\0%d\0" % (access_key(headers), headers[b"x-amz-target"], index))
        digest.update(content)
        return CommandId(digest.digest())


def is_repeated(headers: dict[bytes, bytes]) -> bool:
    """Whether the SDK says that it has sent this request before (`amz-sdk-request: attempt=2; max=3`)."""
    attempt = headers.get(b"amz-sdk-request")
    return attempt is not None and not attempt.startswith(b"attempt=1;")


def access_key(headers: dict[bytes, bytes]) -> bytes:
    """The access key id of the Authorization header (SigV4), empty if there is none."""
    authorization = headers.get(b"authorization")
    if authorization is None:
        return b""
    start = authorization.find(b"Credential=")
    if start < 0:
        return b""
    start += 11
    return authorization[start : authorization.find(b"/", start)]


def guarded(handler: Callable[[Call, Any], None]) -> Callable[[Call], Callable[[Any], None]]:
    """Make a reply handler's callback: `guarded(f)(call)` takes the reply, and answers whatever `f` raises."""

    def run(call: Call, reply: Any) -> None:
        try:
            handler(call, reply)
        except Exception as error:  # noqa: BLE001 - as in `Call.start`
            call.raised(error)

    return lambda call: partial(run, call)
