#!lua flags=allow-oom
-- uses _queue.lua _group.lua _blobs.lua _letters.lua _durable.lua _durable_take.lua
-- Move what is due anywhere, see after durable channels, and forget inboxes and blobs that are gone.
-- KEYS: due, wake, leases, later, loose; the queues are only known from `due`.  ARGV: P.
-- Returns milliseconds until the next delayed message is due, or -1.
local now = time()
for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)) do
  local next = tonumber(promote(queue(name), now))
  if not next then
    call('ZREM', KEYS[1], name)
  else
    -- What is due and has no room is looked at again soon; receives by script move it at once.
    call('ZADD', KEYS[1], next > now and next or now + 0.1, name)
  end
end
for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)) do
  local Q = durable(name)
  refill(Q, now)
  lapse(Q, now)
  look_again(Q, now)
end
forget_the_dead(now)
forget_loose(now)
-- Names of queues of which nothing is left go out of the register, a few at a time.
for _, name in ipairs(call('SRANDMEMBER', P .. 'queues', 10)) do
  local Q, D = queue(name), durable(name)
  if call('EXISTS', Q.m, Q.q, Q.z, D.x, D.z) == 0 then call('SREM', P .. 'queues', name) end
end
local next = math.min(score(KEYS[1]), score(KEYS[4]))
if next == math.huge then return -1 end
return math.max(0, milliseconds(next - now))
