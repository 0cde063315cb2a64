'use strict'
// A worker in another language: takes `chat.message` from a layer on Redis, and answers. `node worker.js`
// How all of this stands in Redis: docs/reference/redis-layout.md. Needs nothing but Node.js 18.
//
//   TRUNKLINE_LAYER    redis://[user:password@]host[:port][/database][?prefix=shop], rediss://… or unix:///path
//   TRUNKLINE_SCRIPTS  the folder of the scripts of the same version of Trunkline

const fs = require('node:fs')
const path = require('node:path')
const { randomUUID } = require('node:crypto')
const { setTimeout: sleep } = require('node:timers/promises')
const { pack, unpack } = require('./messagepack')
const { Redis } = require('./redis')

const CHANNEL = 'chat.message'
const EXPIRY = 60 // seconds an answer waits
const GROUP_EXPIRY = 86400 // seconds a membership lives that nobody renews
const LEASE = 15 // seconds an announcement holds
const RENEW = 5000 // milliseconds until it is renewed
const HEARD = 60 // seconds a channel counts as listened to
const HEAD = 22 // bytes of an element before its name

const url = new URL(process.env.TRUNKLINE_LAYER || 'redis://localhost:6379')
const folder = process.env.TRUNKLINE_SCRIPTS || path.join(__dirname, '../../layer/redis/scripts')
const prefix = (url.searchParams.get('prefix') || 'trunkline') + ':'
const name = `node.${randomUUID()}`
const counts = { taken: 0, answered: 0, expired: 0, failed: 0 }
const ending = new AbortController()

// The layer

const key = (kind, queue) => `${prefix}${kind}:{${queue}}`

// A name up to its `!` is an inbox, which the local part stands in; any other name is a queue of its own.
const split = channel => [channel.slice(0, channel.indexOf('!') + 1) || channel, channel.split('!')[1] || '']

// What a queue may hold: messages, and bytes where they are bounded.
const room = queue => queue.endsWith('!') ? [10000, 67108864] : [1000, '']

// A script's text; a line `-- uses A B` stands for the text of these files.
const source = file => fs.readFileSync(path.join(folder, file), 'utf8')
  .replace(/^-- uses (.+)$/gm, (_, used) => used.split(' ').map(source).join('\n'))

async function run (redis, script, keys, ...args) {
  redis.loaded ??= {}
  redis.loaded[script] ??= redis.call('SCRIPT', 'LOAD', source(script + '.lua'))
  try {
    return await redis.call('EVALSHA', await redis.loaded[script], keys.length, ...keys, ...args)
  } catch (error) {
    if (!error.message.startsWith('NOSCRIPT')) throw error
    delete redis.loaded[script] // somebody flushed the scripts
    return run(redis, script, keys, ...args)
  }
}

function announce (redis, info) {
  const keys = ['listeners', 'alive', 'heard', 'leases'].map(each => prefix + each)
  return run(redis, 'announce', keys, prefix, name, info ? pack(info) : '', LEASE, HEARD, ...info ? [CHANNEL, 0] : [])
}

async function send (redis, channel, message) {
  const [queue, local] = split(channel)
  const element = Buffer.concat([Buffer.from([0, local.length, 0, 0, 0, 0]), Buffer.from(local), pack(message)])
  const keys = ['q', 'm', 'z'].map(kind => key(kind, queue))
  const sent = await run(redis, 'put', keys, prefix, queue, EXPIRY, ...room(queue), element)
  if (Array.isArray(sent)) throw new Error(`${queue} is full: ${sent[0]} messages wait there`)
}

function addToGroup (redis, group, channel) {
  const [queue, local] = split(channel)
  return run(redis, 'group_add', [], prefix, group, queue, local, '', GROUP_EXPIRY, ...room(queue))
}

function sendToGroup (redis, group, message, except) {
  const [queue, local] = split(except)
  return run(redis, 'send_group', [], prefix, group, pack(message), EXPIRY, queue, pack([local]))
}

// The consumer

async function consume (redis, { reply_channel: reply, user, text }) {
  if (text === 'join') await addToGroup(redis, 'node.room', reply)
  if (text.startsWith('all: ')) await sendToGroup(redis, 'node.room', { text: `${user}: ${text.slice(5)}` }, reply)
  else await send(redis, reply, { text: `${user}, you said: ${text}` })
}

// The worker

async function handle (redis, element, now) {
  if (element.length < HEAD) { // a token: the messages are elsewhere
    ending.abort()
    process.exitCode = 3
    throw new Error(`${CHANNEL} is a durable channel here, and this worker knows plain ones only`)
  }
  counts.taken++
  if (element.readDoubleBE(0) <= now) return counts.expired++
  try {
    await consume(redis, unpack(element.subarray(HEAD + element[17] + element.readUInt32BE(18))))
    counts.answered++
  } catch (error) {
    if (redis.lost) throw error
    counts.failed++
    console.error(error)
  }
}

async function work (connected) {
  const redis = new Redis(url)
  const waiting = new Redis(url) // a BLMPOP keeps back whatever is asked behind it
  const renew = () => announce(redis, { channels: { [CHANNEL]: false } })
  const renewing = setInterval(() => renew().catch(error => redis.close(error.message)), RENEW)
  let pulling = false
  const wake = async () => {
    for (; pulling; await sleep(5)) await redis.call('CLIENT', 'UNBLOCK', waiting.id).catch(() => { pulling = false })
  }
  try {
    await Promise.all([redis.open(name), waiting.open(name)])
    await renew()
    connected()
    ending.signal.addEventListener('abort', wake)
    while (!ending.signal.aborted) {
      pulling = true
      const pull = waiting.call('BLMPOP', 5, 1, key('q', CHANNEL), 'LEFT', 'COUNT', 10)
      const [pulled, time] = await Promise.all([pull, waiting.call('TIME')])
      pulling = false
      const now = Number(time[0]) + Number(time[1]) / 1e6
      for (const element of pulled ? pulled[1] : []) await handle(redis, element, now)
    }
    await announce(redis, null)
  } finally {
    pulling = false
    ending.signal.removeEventListener('abort', wake)
    clearInterval(renewing)
    redis.close()
    waiting.close()
  }
}

async function main () {
  process.once('SIGTERM', () => ending.abort()).once('SIGINT', () => ending.abort())
  for (let longest = 50; !ending.signal.aborted; longest = Math.min(2 * longest, 2000)) {
    try {
      await work(() => { longest = 25; console.log(`${name} listens to ${CHANNEL}`) })
    } catch (error) {
      console.error(error.message)
      await sleep(Math.random() * longest, null, { signal: ending.signal }).catch(() => {})
    }
  }
  console.log(JSON.stringify(counts))
}

main()
