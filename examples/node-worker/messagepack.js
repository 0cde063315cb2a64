'use strict'
// MessagePack, as far as messages of the layer need it: https://github.com/msgpack/msgpack/blob/master/spec.md
// str ↔ String, bin ↔ Buffer, map ↔ Object, array ↔ Array; integers beyond 2^53 are BigInts.

// What stands before a value: `short` with its size, or one of the tags for 8, 16 and 32 bits of size, and the size.
function head (short, limit, tags, size) {
  if (size < limit) return Buffer.from([short | size])
  const wide = size < 0x100 && tags[0] ? 0 : size < 0x10000 ? 1 : 2
  const bytes = Buffer.alloc(1 + (1 << wide))
  bytes[0] = tags[wide]
  bytes.writeUIntBE(size, 1, 1 << wide)
  return bytes
}

function number (value) {
  if (value >= -32 && value < 128 && Number.isInteger(Number(value))) return Buffer.from([Number(value) & 0xff])
  const bytes = Buffer.alloc(9)
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) {
    bytes[0] = 0xd3
    bytes.writeBigInt64BE(BigInt(value), 1)
  } else {
    if (!Number.isFinite(value)) throw new TypeError(`${value} cannot travel`)
    bytes[0] = 0xcb
    bytes.writeDoubleBE(value, 1)
  }
  return bytes
}

function pack (value) {
  if (value === null || value === undefined) return Buffer.from([0xc0])
  if (typeof value === 'boolean') return Buffer.from([value ? 0xc3 : 0xc2])
  if (typeof value === 'number' || typeof value === 'bigint') return number(value)
  if (typeof value === 'string') {
    const text = Buffer.from(value)
    return Buffer.concat([head(0xa0, 32, [0xd9, 0xda, 0xdb], text.length), text])
  }
  if (value instanceof Uint8Array) return Buffer.concat([head(0, 0, [0xc4, 0xc5, 0xc6], value.length), value])
  if (Array.isArray(value)) return Buffer.concat([head(0x90, 16, [0, 0xdc, 0xdd], value.length), ...value.map(pack)])
  const pairs = Object.entries(value)
  return Buffer.concat([head(0x80, 16, [0, 0xde, 0xdf], pairs.length), ...pairs.flat().map(pack)])
}

// Throws a RangeError or TypeError for what is no message.
function unpack (bytes) {
  let at = 0
  const take = size => {
    if (at + size > bytes.length) throw new RangeError('the message is cut off')
    return bytes.subarray(at, at += size)
  }
  const uint = size => take(size).readUIntBE(0, size)
  const text = size => take(size).toString()
  const list = (size, deep) => {
    const values = []
    while (values.length < size) values.push(read(deep))
    return values
  }
  const map = (size, deep) => {
    const pairs = []
    while (pairs.length < size) pairs.push([read(deep), read(deep)])
    return Object.fromEntries(pairs)
  }
  const long = value => Number.isSafeInteger(Number(value)) ? Number(value) : value

  function read (depth) {
    if (depth > 512) throw new RangeError('the message is too deep')
    const tag = uint(1)
    const deep = depth + 1
    if (tag < 0x80) return tag
    if (tag < 0x90) return map(tag & 15, deep)
    if (tag < 0xa0) return list(tag & 15, deep)
    if (tag < 0xc0) return text(tag & 31)
    if (tag >= 0xe0) return tag - 0x100
    switch (tag) {
      case 0xc0: return null
      case 0xc2: return false
      case 0xc3: return true
      case 0xc4: case 0xc5: case 0xc6: return Buffer.from(take(uint(1 << (tag - 0xc4))))
      case 0xca: return take(4).readFloatBE()
      case 0xcb: return take(8).readDoubleBE()
      case 0xcc: case 0xcd: case 0xce: return uint(1 << (tag - 0xcc))
      case 0xcf: return long(take(8).readBigUInt64BE())
      case 0xd0: case 0xd1: case 0xd2: return take(1 << (tag - 0xd0)).readIntBE(0, 1 << (tag - 0xd0))
      case 0xd3: return long(take(8).readBigInt64BE())
      case 0xd9: case 0xda: case 0xdb: return text(uint(1 << (tag - 0xd9)))
      case 0xdc: case 0xdd: return list(uint(2 << (tag - 0xdc)), deep)
      case 0xde: case 0xdf: return map(uint(2 << (tag - 0xde)), deep)
      default: throw new TypeError(`0x${tag.toString(16)} is nothing that travels`)
    }
  }
  return read(0)
}

module.exports = { pack, unpack }
