// ElectroDB: a single-table entity with composed keys.
const assert = require('node:assert/strict')
const { DynamoDBClient, CreateTableCommand, DeleteTableCommand, waitUntilTableExists } = require('@aws-sdk/client-dynamodb')
const { Entity } = require('electrodb')

async function main() {
  const client = new DynamoDBClient({ endpoint: process.env.DYNAMODB_ENDPOINT })
  await client.send(new CreateTableCommand({
    TableName: 'electro',
    KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }, { AttributeName: 'sk', KeyType: 'RANGE' }],
    AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }, { AttributeName: 'sk', AttributeType: 'S' }],
    BillingMode: 'PAY_PER_REQUEST',
  }))
  await waitUntilTableExists({ client, maxWaitTime: 30 }, { TableName: 'electro' })
  const Task = new Entity({
    model: { entity: 'task', version: '1', service: 'work' },
    attributes: {
      team: { type: 'string' }, task: { type: 'string' }, points: { type: 'number', default: 1 },
      labels: { type: 'set', items: 'string' }, status: { type: ['open', 'done'], default: 'open' },
    },
    indexes: { byTeam: { pk: { field: 'pk', composite: ['team'] }, sk: { field: 'sk', composite: ['task'] } } },
  }, { table: 'electro', client })
  await Task.create({ team: 'core', task: 'one', labels: ['a'] }).go()
  await assert.rejects(Task.create({ team: 'core', task: 'one' }).go())
  await Task.put([{ team: 'core', task: 'two', points: 5 }, { team: 'core', task: 'three' }]).go()
  const { data: patched } = await Task.patch({ team: 'core', task: 'one' })
    .add({ points: 2, labels: ['b'] }).set({ status: 'done' }).go({ response: 'all_new' })
  assert.deepEqual([patched.points, patched.labels.sort(), patched.status], [3, ['a', 'b'], 'done'])
  const { data: tasks } = await Task.query.byTeam({ team: 'core' }).where(({ points }, { gt }) => gt(points, 1)).go()
  assert.deepEqual(tasks.map(({ task }) => task), ['one', 'two'])
  const { data: some } = await Task.get([{ team: 'core', task: 'two' }, { team: 'core', task: 'none' }]).go()
  assert.equal(some.length, 1)
  await Task.remove({ team: 'core', task: 'two' }).go()
  await client.send(new DeleteTableCommand({ TableName: 'electro' }))
  console.log('ok')
}
main().catch((error) => { console.error(error); process.exit(1) })
