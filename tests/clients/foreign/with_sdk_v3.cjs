// AWS SDK for JavaScript v3 with lib-dynamodb: documents, pagination, errors by class.
const assert = require('node:assert/strict')
const { DynamoDBClient, CreateTableCommand, DeleteTableCommand, ConditionalCheckFailedException,
  waitUntilTableExists } = require('@aws-sdk/client-dynamodb')
const { DynamoDBDocumentClient, PutCommand, GetCommand, UpdateCommand, BatchWriteCommand, paginateQuery } =
  require('@aws-sdk/lib-dynamodb')

async function main() {
  const client = new DynamoDBClient({ endpoint: process.env.DYNAMODB_ENDPOINT })
  const documents = DynamoDBDocumentClient.from(client)
  const TableName = 'documents'
  await client.send(new CreateTableCommand({
    TableName,
    KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }, { AttributeName: 'sk', KeyType: 'RANGE' }],
    AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }, { AttributeName: 'sk', AttributeType: 'N' }],
    BillingMode: 'PAY_PER_REQUEST',
  }))
  await waitUntilTableExists({ client, maxWaitTime: 30 }, { TableName })
  const item = { pk: 'a', sk: 1, nested: { list: [1, 'two', null, true] }, set: new Set(['x', 'y']), payload: new Uint8Array([1, 2]) }
  await documents.send(new PutCommand({ TableName, Item: item }))
  const got = await documents.send(new GetCommand({ TableName, Key: { pk: 'a', sk: 1 }, ConsistentRead: true }))
  assert.deepEqual(got.Item, item)
  await assert.rejects(
    documents.send(new PutCommand({ TableName, Item: item, ConditionExpression: 'attribute_not_exists(pk)' })),
    ConditionalCheckFailedException)
  const updated = await documents.send(new UpdateCommand({
    TableName, Key: { pk: 'a', sk: 1 }, UpdateExpression: 'SET nested.#l[1] = :v REMOVE payload',
    ExpressionAttributeNames: { '#l': 'list' }, ExpressionAttributeValues: { ':v': 2 }, ReturnValues: 'ALL_NEW',
  }))
  assert.deepEqual(updated.Attributes, { pk: 'a', sk: 1, nested: { list: [1, 2, null, true] }, set: new Set(['x', 'y']) })
  const many = Array.from({ length: 25 }, (_, sk) => ({ PutRequest: { Item: { pk: 'b', sk } } }))
  await documents.send(new BatchWriteCommand({ RequestItems: { [TableName]: many } }))
  const seen = []
  for await (const page of paginateQuery({ client: documents, pageSize: 4 }, {
    TableName, KeyConditionExpression: 'pk = :p', ExpressionAttributeValues: { ':p': 'b' },
  })) seen.push(...page.Items.map(({ sk }) => sk))
  assert.deepEqual(seen, many.map((_, sk) => sk))
  await client.send(new DeleteTableCommand({ TableName }))
  console.log('ok')
}
main().catch((error) => { console.error(error); process.exit(1) })
