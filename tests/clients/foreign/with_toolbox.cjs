// dynamodb-toolbox: an entity with put, update, get and query.
const assert = require('node:assert/strict')
const { DynamoDBClient, CreateTableCommand, DeleteTableCommand, waitUntilTableExists } = require('@aws-sdk/client-dynamodb')
const { DynamoDBDocumentClient } = require('@aws-sdk/lib-dynamodb')
const { Table, Entity, item, string, number, list, map, $add, GetItemCommand, PutItemCommand, UpdateItemCommand,
  DeleteItemCommand, QueryCommand } = require('dynamodb-toolbox')

async function main() {
  const client = new DynamoDBClient({ endpoint: process.env.DYNAMODB_ENDPOINT })
  await client.send(new CreateTableCommand({
    TableName: 'toolbox',
    KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }, { AttributeName: 'sk', KeyType: 'RANGE' }],
    AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }, { AttributeName: 'sk', AttributeType: 'S' }],
    BillingMode: 'PAY_PER_REQUEST',
  }))
  await waitUntilTableExists({ client, maxWaitTime: 30 }, { TableName: 'toolbox' })
  const table = new Table({
    name: 'toolbox', partitionKey: { name: 'pk', type: 'string' }, sortKey: { name: 'sk', type: 'string' },
    documentClient: DynamoDBDocumentClient.from(client),
  })
  const Pet = new Entity({
    name: 'PET', table,
    schema: item({
      owner: string().key().savedAs('pk'), name: string().key().savedAs('sk'), age: number(),
      toys: list(string()).optional(), vet: map({ city: string() }).optional(),
    }),
  })
  await Pet.build(PutItemCommand).item({ owner: 'ada', name: 'rex', age: 3, toys: ['ball'], vet: { city: 'Rome' } })
    .options({ condition: { attr: 'owner', exists: false } }).send()
  await Pet.build(PutItemCommand).item({ owner: 'ada', name: 'tom', age: 9 }).send()
  const { Attributes } = await Pet.build(UpdateItemCommand)
    .item({ owner: 'ada', name: 'rex', age: $add(1) }).options({ returnValues: 'ALL_NEW' }).send()
  assert.equal(Attributes.age, 4)
  const { Item } = await Pet.build(GetItemCommand).key({ owner: 'ada', name: 'rex' }).options({ consistent: true }).send()
  assert.deepEqual([Item.age, Item.toys, Item.vet], [4, ['ball'], { city: 'Rome' }])
  const { Items } = await table.build(QueryCommand).query({ partition: 'ada', range: { beginsWith: 't' } }).entities(Pet).send()
  assert.deepEqual(Items.map(({ name }) => name), ['tom'])
  await Pet.build(DeleteItemCommand).key({ owner: 'ada', name: 'rex' }).send()
  await client.send(new DeleteTableCommand({ TableName: 'toolbox' }))
  console.log('ok')
}
main().catch((error) => { console.error(error); process.exit(1) })
