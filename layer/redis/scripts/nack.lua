#!lua flags=allow-oom
-- uses _queue.lua _blobs.lua _durable.lua
-- Have a message delivered again.  KEYS: x, v, r, l of the queue, later, wake.  ARGV: P, name, id, tries, delay in seconds.
-- Returns 1, or 0 if it is not this holder's any more.
local Q, id = durable(ARGV[2]), ARGV[3] .. '-0'
local now = time()
if not holds(Q, id, ARGV[4]) then return 0 end
call('ZREM', Q.v, id)
call('ZADD', Q.r, now + tonumber(ARGV[5]), id)
look_again(Q, now)
return 1
