"""The opaque context that a read hands out and a write brings back: what the client has seen, sealed.

Owns its encoding. Clients must neither read nor make one (row A2): it carries a MAC under the cluster's key, over the
bucket and key it belongs to, so a damaged one, one of another cluster and one of another object are refused. Beside the
version vector it names the node that answered the read fastest, which the next write prefers as its coordinator (row
A16). Form: base64 (RFC 4648 §4, padded: Riak's clients decode it) of `version (1) | MAC (12) | MessagePack`.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from typing import Final

import msgspec

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NO_NODE, NodeId
from gramme.objects.versions import NO_VECTOR, Vector

_FORMAT: Final = 1
_MAC_BYTES: Final = 12
MAX_CONTEXT_CHARS: Final = 4096


class Context(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a client has seen of one object. `fastest`: `NO_NODE` where no read measured it."""

    seen: Vector = NO_VECTOR
    fastest: NodeId = NO_NODE


NO_CONTEXT: Final = Context()
"""Of a client that has read nothing: its write is concurrent with everything."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Context).decode


def seal(context: Context, cluster_key: bytes, bucket: bytes, key: bytes) -> str:
    """The text that a client is given."""
    body = _encode(context)
    sealed = bytes((_FORMAT,)) + _mac(cluster_key, bucket, key, body) + body
    return b64encode(sealed).decode()


def unseal(text: str, cluster_key: bytes, bucket: bytes, key: bytes) -> Context:
    """The inverse of `seal`. Raises InvalidInput for anything that `seal` did not make for this object here."""
    if len(text) > MAX_CONTEXT_CHARS:
        raise InvalidInput(f"the context has {len(text)} characters, the limit is {MAX_CONTEXT_CHARS}")
    try:
        sealed = b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise InvalidInput("the context is not one that this cluster gave: it is not base64") from error
    mac, body = sealed[1 : 1 + _MAC_BYTES], sealed[1 + _MAC_BYTES :]
    if sealed[:1] != bytes((_FORMAT,)) or not hmac.compare_digest(mac, _mac(cluster_key, bucket, key, body)):
        raise InvalidInput("the context is damaged, or belongs to another object or another cluster")
    return _decode(body)


def _mac(cluster_key: bytes, bucket: bytes, key: bytes, body: bytes) -> bytes:
    lengths = len(bucket).to_bytes(4, "big") + len(key).to_bytes(4, "big")
    return hmac.digest(cluster_key, lengths + bucket + key + body, "sha256")[:_MAC_BYTES]
