# mypy: ignore-errors
"""PynamoDB: models, conditions, updates, batches, optimistic locking by a version attribute."""

import os
from datetime import UTC, datetime

from pynamodb.attributes import (
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
    UTCDateTimeAttribute,
    VersionAttribute,
)
from pynamodb.exceptions import DoesNotExist, PutError, UpdateError
from pynamodb.models import Model


class Address(MapAttribute):
    city = UnicodeAttribute()
    code = NumberAttribute(null=True)


class Person(Model):
    class Meta:
        table_name = "people"
        host = os.environ["DYNAMODB_ENDPOINT"]
        region = "us-east-1"
        billing_mode = "PAY_PER_REQUEST"

    name = UnicodeAttribute(hash_key=True)
    born = NumberAttribute(range_key=True)
    address = Address(null=True)
    nicknames = UnicodeSetAttribute(null=True)
    scores = ListAttribute(of=NumberAttribute, null=True)
    seen = UTCDateTimeAttribute(null=True)
    version = VersionAttribute()


def code_of(call):
    """The error code that `call` is refused with."""
    try:
        call()
    except (PutError, UpdateError) as error:
        return error.cause_response_code
    return None


Person.create_table(wait=True)
ada = Person("ada", 1815, address=Address(city="London", code=1), nicknames={"countess"}, scores=[1, 2.5])
ada.seen = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ada.save()
assert code_of(lambda: Person("ada", 1815).save(Person.name.does_not_exist())) == "ConditionalCheckFailedException"
again = Person.get("ada", 1815, consistent_read=True)
assert (again.address.city, again.nicknames, again.scores, again.seen) == ("London", {"countess"}, [1, 2.5], ada.seen)
again.update(actions=[Person.address.city.set("Paris"), Person.nicknames.add({"ada"}), Person.scores[0].remove()])
assert (again.address.city, again.nicknames, again.scores) == ("Paris", {"countess", "ada"}, [2.5])
stale = code_of(lambda: ada.update(actions=[Person.address.city.set("Rome")]))  # an old version
assert stale == "ConditionalCheckFailedException"
with Person.batch_write() as batch:
    for year in range(1900, 1940):
        batch.save(Person("bob", year, scores=[year]))
assert [person.born for person in Person.query("bob", Person.born.between(1905, 1907))] == [1905, 1906, 1907]
assert Person.count("bob") == 40
assert [person.born for person in Person.query("bob", filter_condition=Person.scores[0] == 1910)] == [1910]
assert len(list(Person.scan(page_size=9))) == 41
assert {person.born for person in Person.batch_get([("bob", 1900), ("bob", 1901), ("bob", 1)])} == {1900, 1901}
again.refresh()
again.delete()
try:
    Person.get("ada", 1815)
    raise AssertionError("it was deleted")
except DoesNotExist:
    pass
Person.delete_table()
print("ok")
