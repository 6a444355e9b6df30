// node --test: the recipes against the published vectors.
import assert from 'node:assert'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { compatibilityPartitioner } from '@platformatic/kafka'
import { paymentIntentId, typeOf } from './npp.mjs'

const read = name => readFileSync(new URL(`../../schemas/${name}`, import.meta.url), 'utf8')

test('the id of a payment is the published one', () => {
  for (const each of JSON.parse(read('vectors/payment_ids.json')).vectors) {
    assert.equal(paymentIntentId(each.source, each.idempotencyKey), each.paymentIntentId)
  }
})

test('the partition of a key is the published one', () => {
  for (const each of JSON.parse(read('vectors/partitions.json')).vectors) {
    const hash = compatibilityPartitioner({}, Buffer.from(each.paymentIntentId))
    for (const [count, partition] of Object.entries(each.partitions)) assert.equal(hash % Number(count), partition)
  }
})

test('the bytes of the parties are the published ones', () => {
  const type = typeOf(read('avro/Parties.avsc'))
  for (const each of JSON.parse(read('vectors/parties.json')).vectors) {
    assert.equal(type.toBuffer(each.parties).toString('hex'), each.bytesHex)
  }
})
