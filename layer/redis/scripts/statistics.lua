#!lua flags=allow-oom
-- uses _queue.lua _blobs.lua _letters.lua _durable.lua _durable_take.lua
-- Tell counts of queues.  KEYS: none are known before.  ARGV: P, queues; none: all that are registered.
-- Returns {for each queue {sent, sent a second, pending, greatest age, refused, refused a second}, {copies of group
-- messages that were dropped, dead letters that were dropped, blobs, bytes in them, dead letters}, the queues}, numbers
-- as text.
local now = time()
local names = {unpack(ARGV, 2)}
if #names == 0 then names = call('SMEMBERS', P .. 'queues') end
local results = {}
for _, name in ipairs(names) do
  local Q = queue(name)
  promote(Q, now)
  trim(Q, now)
  local D = durable(name)
  local waiting = length(Q) + call('ZCARD', Q.z)
  if pending(D) > 0 then
    refill(D, now)
    lapse(D, now)
    forget_expired(D, now)
    waiting = waiting + pending(D)
    look_again(D, now) -- the token may have gone with what has expired
  end
  local fields = call('HMGET', Q.m, 'n', 'f', 'a', 'r')
  local sent_, full = tonumber(fields[1]) or 0, tonumber(fields[2]) or 0
  local age = 0
  for _, element in ipairs(call('LRANGE', Q.q, 0, Q.inbox and 99 or 0)) do
    if counts(element) then
      local _, queued = struct.unpack('>dd', element)
      age = math.max(0, now - queued)
      break
    end
  end
  local oldest = call('XRANGE', D.x, '-', '+', 'COUNT', 1)[1]
  if oldest then
    local _, queued = struct.unpack('>dd', oldest[2][2])
    age = math.max(age, now - queued)
  end
  -- A rate covers at least ten seconds, once that many have passed; see layer/store/meter.py.
  local began = tonumber(fields[3]) or now
  local marks = fields[4] and cmsgpack.unpack(fields[4]) or {began, 0, 0, began, 0, 0}
  if now - marks[4] >= 10 then marks = {marks[4], marks[5], marks[6], now, sent_, full} end
  if fields[1] or fields[2] then call('HSET', Q.m, 'r', cmsgpack.pack(marks)) end
  local span = now - marks[1]
  results[#results + 1] = {
    tostring(sent_), tostring(span > 0 and (sent_ - marks[2]) / span or 0), tostring(waiting),
    tostring(age), tostring(full), tostring(span > 0 and (full - marks[3]) / span or 0),
  }
  if #names > 1 and not fields[1] and not fields[2] then call('SREM', P .. 'queues', name) end
end
local totals = call('HMGET', P .. 'totals', 'dropped', 'letters_dropped', 'blobs', 'blobs_bytes')
for i = 1, 4 do totals[i] = totals[i] or '0' end
totals[5] = tostring(call('ZCARD', P .. 'dead') - #call('ZRANGEBYSCORE', P .. 'dead', '-inf', now - LETTER_AGE))
return {results, totals, names}
