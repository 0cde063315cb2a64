#!lua flags=allow-oom
-- uses _queue.lua _blobs.lua _durable.lua
-- Have a message that is to be delivered later, be delivered now.
-- KEYS: x, v, r, l, y, e, m of the queue, later, wake.  ARGV: P, name, id.  Returns 1, or 0 if there is none.
local Q, id = durable(ARGV[2]), ARGV[3]
local now = time()
refill(Q, now)
local done = 0
local _, key, element = record_of(Q, id)
if element then
  deliver(Q, id, key, element, now)
  done = 1
elseif grouped(Q) and tonumber(call('ZSCORE', Q.r, id .. '-0') or 0) > now then
  call('ZADD', Q.r, now, id .. '-0')
  done = 1
end
look_again(Q, now)
return done
