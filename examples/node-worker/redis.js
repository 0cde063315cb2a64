'use strict'
// A connection to Redis: commands are pipelined, replies are Buffers, numbers, null, arrays and errors (RESP2).

const net = require('node:net')
const tls = require('node:tls')

const SILENCE = 10000 // milliseconds until an answer is given up; a BLMPOP takes five seconds

class ReplyError extends Error {}

// Returns [value, where it ends], or undefined where more bytes are needed.
function parse (bytes, at) {
  const end = bytes.indexOf('\r\n', at)
  if (end < 0) return undefined
  const kind = String.fromCharCode(bytes[at])
  const line = bytes.toString('latin1', at + 1, end)
  const next = end + 2
  const size = Number(line)
  if (kind === '+') return [Buffer.from(line), next]
  if (kind === '-') return [new ReplyError(line), next]
  if (kind === ':') return [size, next]
  if (kind !== '$' && kind !== '*') throw new Error('this is no Redis')
  if (size < 0) return [null, next]
  if (kind === '$') {
    return next + size + 2 > bytes.length ? undefined : [bytes.subarray(next, next + size), next + size + 2]
  }
  const values = []
  for (let n = 0, from = next; ; n++) {
    if (n === size) return [values, from]
    const found = parse(bytes, from)
    if (!found) return undefined
    values.push(found[0])
    from = found[1]
  }
}

class Redis {
  // Connects to redis://, rediss:// (TLS) or unix://.
  constructor (url) {
    this.url = url
    this.waiting = []
    this.rest = Buffer.alloc(0)
    const place = { host: url.hostname || 'localhost', port: url.port || 6379, servername: url.hostname }
    if (url.protocol === 'unix:') this.socket = net.connect(url.pathname)
    else this.socket = (url.protocol === 'rediss:' ? tls : net).connect(place)
    this.socket.on('data', data => this.read(data))
    this.silence = setTimeout(() => this.waiting.length && this.close('no connection to Redis: it is silent'), SILENCE)
    this.socket.on('error', error => this.close(`no connection to Redis: ${error.message || error.code}`))
    this.socket.on('close', () => this.close('no connection to Redis: it was closed'))
  }

  // Says who it is, and learns its number: `id`.
  async open (name) {
    const { username, password, pathname, protocol, searchParams } = this.url
    const auth = password ? ['AUTH', decodeURIComponent(username) || 'default', decodeURIComponent(password)] : []
    const hello = await this.call('HELLO', 2, ...auth, 'SETNAME', name)
    this.id = hello[hello.findIndex(each => String(each) === 'id') + 1]
    const database = protocol === 'unix:' ? searchParams.get('db') : pathname.slice(1)
    if (database) await this.call('SELECT', database)
  }

  call (...args) {
    return new Promise((resolve, reject) => {
      if (this.lost) return reject(this.lost)
      if (!this.waiting.length) this.silence.refresh()
      this.waiting.push({ resolve, reject })
      const parts = args.map(arg => arg instanceof Uint8Array ? arg : Buffer.from(String(arg)))
      const written = parts.flatMap(part => [Buffer.from(`$${part.length}\r\n`), part, Buffer.from('\r\n')])
      this.socket.write(Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...written]))
    })
  }

  read (data) {
    this.silence.refresh()
    this.rest = Buffer.concat([this.rest, data])
    let at = 0
    try {
      for (let found; (found = parse(this.rest, at)); at = found[1]) {
        const { resolve, reject } = this.waiting.shift()
        if (found[0] instanceof ReplyError) reject(found[0])
        else resolve(found[0])
      }
    } catch (error) {
      this.close(error.message)
    }
    this.rest = this.rest.subarray(at)
  }

  close (reason = 'the connection to Redis was closed') {
    this.lost ??= new Error(reason)
    for (const { reject } of this.waiting.splice(0)) reject(this.lost)
    clearTimeout(this.silence)
    this.socket.destroy()
  }
}

module.exports = { Redis }
