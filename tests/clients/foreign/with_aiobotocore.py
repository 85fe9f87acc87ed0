# mypy: ignore-errors
"""aiobotocore: concurrent calls over one client."""

import asyncio
import os

from aiobotocore.session import get_session


async def main() -> None:
    """Create, write 50 items at once, read them back in pages, delete."""
    async with get_session().create_client("dynamodb", endpoint_url=os.environ["DYNAMODB_ENDPOINT"]) as client:
        await client.create_table(
            TableName="events",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "id", "AttributeType": "S"},
                {"AttributeName": "at", "AttributeType": "N"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        await client.get_waiter("table_exists").wait(TableName="events")
        items = [{"id": {"S": f"e{n % 5}"}, "at": {"N": str(n)}, "body": {"B": bytes([n])}} for n in range(50)]
        await asyncio.gather(*(client.put_item(TableName="events", Item=item) for item in items))
        found = []
        async for page in client.get_paginator("scan").paginate(
            TableName="events", ConsistentRead=True, PaginationConfig={"PageSize": 7}
        ):
            found += page["Items"]
        assert sorted(int(item["at"]["N"]) for item in found) == list(range(50))
        assert all(item["body"]["B"] == bytes([int(item["at"]["N"])]) for item in found)
        one = await client.query(
            TableName="events",
            KeyConditionExpression="id = :i AND #a > :n",
            ExpressionAttributeNames={"#a": "at"},
            ExpressionAttributeValues={":i": {"S": "e3"}, ":n": {"N": "20"}},
            ScanIndexForward=False,
            Limit=2,
        )
        assert [item["at"]["N"] for item in one["Items"]] == ["48", "43"]
        await client.delete_table(TableName="events")


asyncio.run(main())
print("ok")
