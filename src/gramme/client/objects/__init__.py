"""Objects, as a program sees them: buckets whose reads merge siblings, and whose writes say what they have seen.

`ObjectClient` for threads, `AsyncObjectClient` for asyncio; both are thin drivers around the same decisions
(`routing`: whom to ask; `operations`: what to ask). Rule: a value is never dropped silently: several siblings need a
resolver, or are an error.
"""

from gramme.client.objects.asynchronous import AsyncBucket, AsyncObjectClient
from gramme.client.objects.blocking import Bucket, ObjectClient
from gramme.client.objects.values import Found, Resolve, Siblings, Typed, Value, last_write_wins, union

__all__ = [
    "AsyncBucket",
    "AsyncObjectClient",
    "Bucket",
    "Found",
    "ObjectClient",
    "Resolve",
    "Siblings",
    "Typed",
    "Value",
    "last_write_wins",
    "union",
]
