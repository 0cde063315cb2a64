#!lua flags=allow-oom
-- uses _queue.lua _blobs.lua _durable.lua
-- Drop all messages of a queue; notes stay.  KEYS: q, m, z, d, x, v, r, l, y, e, t of the queue, due, later.  ARGV: P, name.  Returns how many.
local Q = queue(ARGV[2])
local now = time()
promote(Q, now)
trim(Q, now)
local D = durable(ARGV[2])
refill(D, now)
forget_expired(D, now)
local dropped = length(Q) + call('ZCARD', Q.z) + pending(D)
local notes = {}
if Q.inbox then
  for _, element in ipairs(call('LRANGE', Q.q, 0, -1)) do
    if not counts(element) then notes[#notes + 1] = element end
  end
  call('HSET', Q.m, 'u', 0, 's', 0)
end
local ties = call('HGETALL', D.t)
for i = 2, #ties, 2 do release(ties[i]) end
call('DEL', Q.q, Q.z, Q.d, D.x, D.v, D.r, D.l, D.z, D.d, D.t)
call('ZREM', KEYS[12], Q.name)
call('ZREM', KEYS[13], Q.name)
for i = 1, #notes, 1000 do
  call('RPUSH', Q.q, unpack(notes, i, math.min(i + 999, #notes)))
end
if #notes > 0 then call('PEXPIRE', Q.q, DAY * 1000) end
return dropped
