"""A simulated client: speaks JSON to any node's API and tries again as an SDK does.

Each attempt goes to a node of its own choice, as with the shared endpoint; all attempts of one call carry the same
`amz-sdk-invocation-id`, so a write must be applied once. What remains unknown after the last attempt is reported so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from gramme.api.http import HttpRequest, HttpResponse
from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.sim.world import World

_NOT_APPLIED: Final = (
    "ThrottlingException",
    "ServiceUnavailable",
    "ResourceNotFoundException",
    "ResourceInUseException",
    "LimitExceededException",
    "TransactionCanceledException",
    "TransactionConflictException",
)
_RETRIED: Final = (
    "ThrottlingException",
    "ServiceUnavailable",
    "InternalServerError",
    "TransactionInProgressException",
)
_RETRY_FOR_NS: Final = 7 * SECOND  # outcomes are remembered for 10 s: a later attempt might be applied again


class Endpoint(Protocol):
    """Where requests go: `None` as a response is a connection that was refused or broke."""

    @property
    def nodes(self) -> tuple[NodeId, ...]: ...

    def request(
        self, node: NodeId, request: HttpRequest, on_response: Callable[[HttpResponse | None], None]
    ) -> None: ...


class UnexpectedAnswer(AssertionError):
    """An answer that a right request must never get."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended. `body` is the decoded answer of a success, else None; `error` the error's type, `""` for none.

    `applied_before`: an earlier attempt has an unknown outcome, whatever the last one said.
    `certain`: what the last attempt said is known: a success, or an error that says 'not applied'.
    `reasons`: of a transaction that was canceled, for each of its actions.
    """

    body: dict[str, Any] | None
    error: str
    certain: bool
    applied_before: bool
    reasons: tuple[dict[str, Any], ...] = ()

    @property
    def refused(self) -> bool:
        """Nothing was done, and nothing will be by an earlier attempt."""
        return self.body is None and self.certain and not self.applied_before


OnAnswer = Callable[[Answer], None]


class Client:
    """One client with its own randomness; any number of calls may be open."""

    def __init__(self, world: World, endpoint: Endpoint, number: int, *, retries_unknown: bool = True) -> None:
        """With `retries_unknown` false, an attempt whose outcome is unknown is the last: a command id belongs to one
        incarnation of a table, so a retry that meets a re-created one is a second write, here as in the service."""
        self.number = number
        self.retries_unknown = retries_unknown
        self.rng = world.randomness("client", number)
        self.world = world
        self.endpoint = endpoint
        self.timeout_ns = (1 + self.rng.randrange(6)) * SECOND

    def call(
        self,
        operation: str,
        body: dict[str, Any],
        on_answer: OnAnswer,
        node: NodeId | None = None,
        *,
        retries_unknown: bool = True,
    ) -> None:
        """Carry out one operation; every attempt goes to `node` if one is given, else to a random one. As for
        `retries_unknown`, see `Client`."""
        _Call(self, operation, body, on_answer, node, retries_unknown and self.retries_unknown).attempt()


class _Call:
    """One operation with its attempts."""

    def __init__(
        self,
        client: Client,
        operation: str,
        body: dict[str, Any],
        on_answer: OnAnswer,
        node: NodeId | None,
        retries_unknown: bool,
    ) -> None:
        self._client = client
        self._world = world = client.world
        self._endpoint = client.endpoint
        self._rng = rng = client.rng
        self._operation = operation
        self._on_answer = on_answer
        self._node = node
        self._retries_unknown = retries_unknown
        self._since_ns = world.now_ns
        self._attempts = 0
        self._attempt_open = 0
        self._maybe_applied = False
        self._headers = {
            b"host": b"localhost:8000",
            b"content-type": b"application/x-amz-json-1.0",
            b"x-amz-target": b"DynamoDB_20120810." + operation.encode(),
            b"amz-sdk-invocation-id": rng.randbytes(16).hex().encode(),
            b"authorization": b"AWS4-HMAC-SHA256 Credential=sim/20261120/us-east-1/dynamodb/aws4_request",
        }
        self._body = msgspec.json.encode(body)

    def attempt(self) -> None:
        """Send the request once more."""
        self._attempts += 1
        number = self._attempt_open = self._attempts
        nodes = self._endpoint.nodes
        node = self._node if self._node is not None else nodes[self._rng.randrange(len(nodes))]
        headers = {**self._headers, b"amz-sdk-request": b"attempt=%d; max=9" % number}
        request = HttpRequest("POST", "/", "", headers, self._body)
        self._endpoint.request(node, request, lambda response: self._answered(number, response))
        self._world.after(self._client.timeout_ns, lambda: self._answered(number, None))

    def _answered(self, number: int, response: HttpResponse | None) -> None:
        if number != self._attempt_open:
            return
        self._attempt_open = 0
        if response is None:
            self._again(certain=False, error="ConnectionError")
            return
        body = response.whole_body()
        self._world.note(self._operation, response.status, body)
        content = msgspec.json.decode(body)
        if response.status == 200:
            self._finish(Answer(content, "", True, self._maybe_applied))
            return
        error = content["__type"].rpartition("#")[2]
        if error in _RETRIED:
            self._again(certain=error in _NOT_APPLIED, error=error)
        elif error in _NOT_APPLIED or error == "ConditionalCheckFailedException" or self._repeats_a_change(error):
            reasons = tuple(content.get("CancellationReasons", ()))
            self._finish(Answer(None, error, True, self._maybe_applied, reasons))
        else:
            raise UnexpectedAnswer(f"{self._operation} was answered {response.status} {body.decode()}")

    def _repeats_a_change(self, error: str) -> bool:
        """Table operations have no command id: one whose answer was lost meets what it has done (the index exists)."""
        return error == "ValidationException" and self._operation == "UpdateTable"

    def _again(self, *, certain: bool, error: str) -> None:
        given_up = not certain and not self._retries_unknown
        if given_up or self._world.now_ns - self._since_ns > _RETRY_FOR_NS:
            self._finish(Answer(None, error, certain, self._maybe_applied))
            return
        self._maybe_applied = self._maybe_applied or not certain
        limit_ns = min(50 * MILLISECOND << min(self._attempts, 5), SECOND)
        self._world.after(self._rng.randrange(limit_ns), self.attempt)

    def _finish(self, answer: Answer) -> None:
        self._on_answer(answer)
