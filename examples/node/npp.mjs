// What an upstream system has to compute by itself: the payment's id, and the wire format.
import { createHash } from 'node:crypto'
import avro from 'avsc'

export const SOURCE = 'mobile-app'
export const COMMANDS = 'npp.payment.commands.v1'
export const LIFECYCLE = 'npp.payment.lifecycle.v1'
export const OUTCOMES = 'npp.payment.outcomes.v1'

/** pi_ + base32 (lower case, no padding) of the first 16 bytes of SHA-256(source, NUL, key). */
export function paymentIntentId (source, key) {
  const hash = createHash('sha256').update(`${source}\0${key}`, 'utf8').digest().subarray(0, 16)
  const bits = [...hash].map(byte => byte.toString(2).padStart(8, '0')).join('').padEnd(130, '0')
  const letters = bits.match(/.{5}/g).map(five => 'abcdefghijklmnopqrstuvwxyz234567'[parseInt(five, 2)])
  return `pi_${letters.join('')}`
}

/** Schemas of the registry, each asked for once. 64-bit numbers are BigInts: none is rounded. */
export class Registry {
  #url
  #types = new Map()

  constructor (url) {
    this.#url = url
  }

  async #ask (path) {
    const answer = await fetch(this.#url + path)
    const found = await answer.json()
    if (!answer.ok) throw new Error(`the registry says ${answer.status}: ${JSON.stringify(found)}`)
    return found
  }

  /** The subject is topic, "-", and the record's full name. */
  async encode (topic, name, value) {
    const { id, schema } = await this.#ask(`/subjects/${topic}-au.npp.orchestrator.v1.${name}/versions/latest`)
    const head = Buffer.alloc(5)
    head.writeInt32BE(id, 1)
    return Buffer.concat([head, typeOf(schema).toBuffer(value)])
  }

  async decode (bytes) {
    if (bytes[0] !== 0) throw new Error('not the wire format of the registry')
    const id = bytes.readInt32BE(1)
    if (!this.#types.has(id)) this.#types.set(id, typeOf((await this.#ask(`/schemas/ids/${id}`)).schema))
    return this.#types.get(id).fromBuffer(bytes.subarray(5))
  }
}

const long = avro.types.LongType.__with({
  fromBuffer: bytes => bytes.readBigInt64LE(),
  toBuffer: value => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt(value))
    return bytes
  },
  fromJSON: BigInt,
  toJSON: String,
  isValid: value => typeof value === 'bigint',
  compare: (one, other) => (one < other ? -1 : one > other ? 1 : 0)
})

export function typeOf (schema) {
  return avro.Type.forSchema(typeof schema === 'string' ? JSON.parse(schema) : schema, { registry: { long }, wrapUnions: false })
}
