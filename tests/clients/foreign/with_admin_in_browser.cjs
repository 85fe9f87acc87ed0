// dynamodb-admin in a real browser (Chromium, found by the CHROMIUM variable): list tables, look at an item, edit it,
// delete it, each by what a person would click; the results are read through the SDK.
const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const net = require('node:net')
const path = require('node:path')
const { DynamoDBClient, CreateTableCommand, DeleteTableCommand, GetItemCommand, PutItemCommand, waitUntilTableExists } =
  require('@aws-sdk/client-dynamodb')

const client = new DynamoDBClient({ endpoint: process.env.DYNAMODB_ENDPOINT })
const TableName = 'edited'

async function item () {
  return (await client.send(new GetItemCommand({ TableName, Key: { pk: { S: 'a' } }, ConsistentRead: true }))).Item
}

async function until (what, probe) {
  for (let tries = 0; tries < 200; tries++) {
    if (await probe()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.fail(`not within 10 s: ${what}`)
}

async function freePort () {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function walk (page, home) {
  await page.goto(home)
  await page.waitForSelector('#table-list')
  await Promise.all([page.waitForNavigation(), page.click(`a[href$="/tables/${TableName}"]`)])
  await page.waitForSelector('#items-container a')
  assert.match(await page.$eval('#items-container', (rows) => rows.textContent), /hello/)
  await Promise.all([page.waitForNavigation(), page.click('#items-container a')])
  await page.waitForFunction('typeof editor !== "undefined" && editor.getValue().includes("hello")')
  await page.evaluate(() => {
    const edited = { ...JSON.parse(editor.getValue()), note: 'changed', size: 3 } // eslint-disable-line
    editor.setValue(JSON.stringify(edited)) // eslint-disable-line
  })
  await page.click('#saveButton')
  await until('the edit is stored', async () => (await item()).note?.S === 'changed')
  assert.deepEqual((await item()).size, { N: '3' })
  await Promise.all([page.waitForNavigation(), page.click('button.btn-danger')])
  await until('the item is deleted', async () => await item() === undefined)
}

async function main () {
  const puppeteer = require('puppeteer-core')
  await client.send(new CreateTableCommand({
    TableName,
    KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
    AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
    BillingMode: 'PAY_PER_REQUEST',
  }))
  await waitUntilTableExists({ client, maxWaitTime: 30 }, { TableName })
  await client.send(new PutItemCommand({ TableName, Item: { pk: { S: 'a' }, note: { S: 'hello' } } }))
  const port = await freePort()
  const program = path.join(process.env.NODE_PATH, 'dynamodb-admin', 'dist', 'dynamodb-admin.js')
  const admin = spawn(process.execPath, [program, '--host', '127.0.0.1', '--port', String(port)],
    { env: { ...process.env, DYNAMO_ENDPOINT: process.env.DYNAMODB_ENDPOINT }, stdio: 'ignore' })
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--disable-gpu'], headless: true,
  })
  try {
    const home = `http://127.0.0.1:${port}`
    await until('dynamodb-admin answers', () => fetch(home).then((answer) => answer.ok, () => false))
    await walk(await browser.newPage(), home)
  } finally {
    await browser.close()
    admin.kill()
  }
  await client.send(new DeleteTableCommand({ TableName }))
  console.log('ok')
}
main().catch((error) => { console.error(error); process.exit(1) })
