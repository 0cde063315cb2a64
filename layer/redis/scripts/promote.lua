#!lua
-- uses _queue.lua _group.lua
-- Move what is due anywhere, and forget inboxes that are gone.
-- KEYS: due, wake, leases; the queues are only known from `due`.  ARGV: P.
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
forget_the_dead(now)
local first = call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not first[1] then return -1 end
return math.max(0, milliseconds(tonumber(first[2]) - now))
