#!lua flags=allow-oom
-- uses _queue.lua _group.lua
-- Tell that a listener is alive, or that it goes.
--
--   listeners  HASH  listener → packed info;  alive  ZSET  listener → until when
--   heard      HASH  channel → until when it counts as listened to (8 bytes), whether in order (1 byte)
--
-- Servers are told of a channel that was not heard before, so that they need not ask.
-- KEYS: listeners, alive, heard, leases.  ARGV: P, listener, packed info or "" to go, seconds of its lease, seconds a
-- channel stays heard, then each channel and "1" (in order) or "0".
local HEARD = 7
local listener, now = ARGV[2], time()
for _, gone in ipairs(call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  call('ZREM', KEYS[2], gone)
  call('HDEL', KEYS[1], gone)
end
if ARGV[3] == '' then
  call('ZREM', KEYS[2], listener)
  call('HDEL', KEYS[1], listener)
  return
end
call('HSET', KEYS[1], listener, ARGV[3])
call('ZADD', KEYS[2], now + tonumber(ARGV[4]), listener)
local seconds = tonumber(ARGV[5])
local inboxes
for i = 6, #ARGV, 2 do
  local channel, ordered = ARGV[i], tonumber(ARGV[i + 1])
  local known = call('HGET', KEYS[3], channel)
  local until_, was = 0, nil
  if known then until_, was = struct.unpack('>dB', known) end
  call('HSET', KEYS[3], channel, struct.pack('>dB', now + seconds, ordered))
  if until_ <= now or was ~= ordered then
    inboxes = inboxes or call('ZRANGEBYSCORE', KEYS[4], now, '+inf')
    for _, name in ipairs(inboxes) do
      local Q = inbox(name)
      if Q.known and Q.lease and Q.lease > now then
        note(Q, HEARD, channel, cmsgpack.pack({ordered == 1}), '', now + seconds, now)
      end
    end
  end
end
