"""The items that are loaded and asked for, and requests for them as bytes ready to be sent.

Owns the shape of an item, its text and the encoding of every request that a generator sends, so that one item is the
same to every client and endpoint. Requests carry the headers of a signed one, because emulators insist on them; the
signature is nought (nobody here checks it). Text looks random, so that compression gains nothing, and is the same in
every run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

_POOL: Final = "".join(Random(20_061_121).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=1 << 16))
_STEP: Final = 7_919  # a prime: items differ in every field
_VARIANT_STEP: Final = 104_729
_HEAD: Final = (
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-amz-json-1.0\r\n"
    "X-Amz-Target: DynamoDB_20120810.{operation}\r\nX-Amz-Date: 20261121T000000Z\r\n"
    "Authorization: AWS4-HMAC-SHA256 Credential=bench/20261121/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host;x-amz-date;x-amz-target, Signature=" + "0" * 64 + "\r\nContent-Length: {length}\r\n\r\n"
)


class Shape(msgspec.Struct, frozen=True):
    """`records` items of `item_bytes` bytes as DynamoDB counts them: the key and `fields` strings of equal length.

    `group`: as many neighbours share a partition key and differ in the sort key; 1: there is no sort key."""

    records: int = 10_000
    item_bytes: int = 900
    fields: int = 9
    group: int = 1

    def key(self, number: int) -> dict[str, dict[str, str]]:
        """Key of item `number`; numbers from `records` on are of items that do not exist at first."""
        if self.group == 1:
            return {"pk": {"S": f"user{number:08d}"}}
        return {"pk": {"S": f"group{number // self.group:06d}"}, "sk": {"S": f"{number % self.group:06d}"}}

    def item(self, number: int, variant: int = 0) -> dict[str, dict[str, str]]:
        """The item; another `variant` has another text."""
        item = self.key(number)
        names = [f"field{at}" for at in range(self.fields)]
        room = self.item_bytes - sum(len(name) + len(value["S"]) for name, value in item.items())
        length, more = divmod(room - sum(map(len, names)), self.fields)
        for at, name in enumerate(names):
            item[name] = {"S": text(number + at, variant, length + (at < more))}
        return item

    def field(self, number: int, at: int, variant: int) -> dict[str, str]:
        """A value for one field alone."""
        return self.item(number, variant)[f"field{at}"]


def text(number: int, variant: int, length: int) -> str:
    """Characters that depend on all three."""
    start = (number * _STEP + variant * _VARIANT_STEP) % (len(_POOL) - length)
    return _POOL[start : start + length]


class TableRequests:
    """Requests for one table, as one endpoint is sent them."""

    def __init__(self, url: str, table: str, shape: Shape) -> None:
        self.table = table
        self.shape = shape
        self._host = urlsplit(url).netloc

    def read(self, number: int) -> bytes:
        """GetItem, strongly consistent."""
        return self._of("GetItem", {"Key": self.shape.key(number), "ConsistentRead": True})

    def read_eventually(self, number: int) -> bytes:
        """GetItem, eventually consistent."""
        return self._of("GetItem", {"Key": self.shape.key(number), "ConsistentRead": False})

    def put(self, number: int, variant: int) -> bytes:
        """PutItem of the whole item."""
        return self._of("PutItem", {"Item": self.shape.item(number, variant)})

    def update(self, number: int, variant: int, *, conditional: bool = False) -> bytes:
        """UpdateItem: SET of one field, of an item always the same: another variant is another value."""
        at = number % self.shape.fields
        body: dict[str, Any] = {
            "Key": self.shape.key(number),
            "UpdateExpression": f"SET field{at} = :v",
            "ExpressionAttributeValues": {":v": self.shape.field(number, at, variant)},
        }
        if conditional:
            body["ConditionExpression"] = "attribute_exists(pk)"
        return self._of("UpdateItem", body)

    def scan(self, number: int, count: int) -> bytes:
        """Query of up to `count` items from `number` on, of the same partition key."""
        key = self.shape.key(number)
        return self._of(
            "Query",
            {
                "KeyConditionExpression": "pk = :p AND sk >= :s",
                "ExpressionAttributeValues": {":p": key["pk"], ":s": key["sk"]},
                "Limit": count,
                "ConsistentRead": True,
            },
        )

    def batch(self, numbers: range) -> bytes:
        """BatchWriteItem that puts these items, 25 at most."""
        puts = [{"PutRequest": {"Item": self.shape.item(number)}} for number in numbers]
        return self._encoded("BatchWriteItem", {"RequestItems": {self.table: puts}})

    def definition(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The CreateTable request; `settings` are those that are not the key's."""
        names = ["pk"] if self.shape.group == 1 else ["pk", "sk"]
        kinds = zip(names, ("HASH", "RANGE"), strict=False)
        return {
            "TableName": self.table,
            "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in kinds],
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
            **settings,
        }

    def _of(self, operation: str, body: dict[str, Any]) -> bytes:
        return self._encoded(operation, {"TableName": self.table, **body})

    def _encoded(self, operation: str, body: dict[str, Any]) -> bytes:
        content = json.dumps(body, separators=(",", ":"))
        return (_HEAD.format(host=self._host, operation=operation, length=len(content)) + content).encode()


class ObjectRequests:
    """Requests for one bucket: objects of `shape.item_bytes` bytes. There is nothing to scan."""

    def __init__(self, url: str, bucket: str, shape: Shape) -> None:
        self.shape = shape
        self._host = urlsplit(url).netloc
        self._bucket = bucket

    def read(self, number: int) -> bytes:
        """GET of the object."""
        return f"GET {self._path(number)} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()

    def put(self, number: int, variant: int) -> bytes:
        """PUT without a context."""
        value = text(number, variant, self.shape.item_bytes)
        return (
            f"PUT {self._path(number)} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(value)}\r\n\r\n{value}"
        ).encode()

    def _path(self, number: int) -> str:
        return f"/buckets/{self._bucket}/keys/user{number:08d}"
