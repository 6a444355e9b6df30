// Publishes one payment and follows it to its end.
//
//   npm ci && node publish_and_follow.mjs localhost:9092 http://localhost:8081 my-key-1 1250
//
// Exit 0: settled; 1: anything else.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import {
  compatibilityPartitioner, CompressionAlgorithms, Consumer, FetchIsolationLevels, MessagesStreamModes,
  ProduceAcks, Producer
} from '@platformatic/kafka'
import { COMMANDS, LIFECYCLE, OUTCOMES, paymentIntentId, Registry, SOURCE, typeOf } from './npp.mjs'

const FINAL = new Set(['SETTLED', 'FAILED', 'EXPIRED'])
const FOLLOW_MILLIS_MAX = 60_000
const PARTIES = new URL('../../schemas/avro/Parties.avsc', import.meta.url)

const [bootstrap, registryUrl, key, cents] = process.argv.slice(2)
const registry = new Registry(registryUrl)
const payment = paymentIntentId(SOURCE, key)
const commandId = `cmd-${randomUUID()}`
const connection = { clientId: 'publish-and-follow', bootstrapBrokers: bootstrap.split(',') }

function createPayment () {
  const account = { payIdType: null, payId: null }
  const parties = typeOf(readFileSync(PARTIES, 'utf8')).toBuffer({
    debtor: { name: 'Ada Debtor', bsb: '062000', account: '12345678', ...account },
    creditor: { name: 'Bo Creditor', bsb: '082000', account: '87654321', ...account },
    remittance: 'invoice 1'
  })
  return registry.encode(COMMANDS, 'CreatePayment', {
    header: { paymentIntentId: payment, commandId, sentAt: BigInt(Date.now()), traceparent: null },
    source: SOURCE,
    idempotencyKey: key,
    amount: BigInt(cents),
    currency: 'AUD',
    parties: { scheme: 'avro.1', keyId: null, bytes: parties },
    endToEndId: 'NOTPROVIDED',
    service: 'x2p1',
    uetr: null,
    customerId: null,
    requestedExecutionTime: null,
    expiresAt: null
  })
}

async function publish (value) {
  const producer = new Producer({
    ...connection,
    acks: ProduceAcks.ALL,
    idempotent: true,
    compression: CompressionAlgorithms.LZ4,
    partitioner: compatibilityPartitioner, // as Java's client; this client's default is another
    autocreateTopics: false
  })
  try {
    await producer.send({ messages: [{ topic: COMMANDS, key: Buffer.from(payment), value }] })
  } finally {
    await producer.close()
  }
}

/** Prints what becomes of it; whether it is settled. */
async function follow (stream) {
  let seen = 0n
  for await (const message of stream) {
    if (message.key?.toString() !== payment || !message.value) continue
    const record = await registry.decode(message.value)
    if (message.topic === OUTCOMES) {
      if (record.cause.commandId !== commandId) continue
      console.log(`${record.result} ${record.rule} ${record.sentence}`)
      return false // a duplicate or a refusal; an accepted payment has no outcome
    }
    if (record.sequence <= seen) continue // one that was seen already
    seen = record.sequence
    console.log(`${seen} ${record.state} ${record.moneyOutcome}`)
    if (FINAL.has(record.state)) return record.state === 'SETTLED'
  }
  console.log('not at its end yet')
  return false
}

console.log(payment)
// A real system keeps one group, and its position in it; the name begins with npp-upstream-.
const consumer = new Consumer({ ...connection, groupId: `npp-upstream-${randomUUID()}`, autocommit: false })
let settled = false
try {
  // The reader is at the ends before anything is published: nothing can be missed.
  const stream = await consumer.consume({
    topics: [LIFECYCLE, OUTCOMES],
    mode: MessagesStreamModes.LATEST,
    isolationLevel: FetchIsolationLevels.READ_COMMITTED,
    maxWaitTime: 200
  })
  setTimeout(() => stream.close(), FOLLOW_MILLIS_MAX).unref()
  await publish(await createPayment())
  settled = await follow(stream)
  await stream.close()
} finally {
  await consumer.close(true)
}
process.exit(settled ? 0 : 1)
