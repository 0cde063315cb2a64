#!lua flags=allow-oom
-- uses _queue.lua _blobs.lua _durable.lua
-- Put messages to the head of their channel, as if they had not been taken: they stand in the order of their ids.
-- KEYS: x, v, r, l of the queue, later, wake.  ARGV: P, name, then for each its id and tries.
local Q = durable(ARGV[2])
for i = 3, #ARGV, 2 do
  local id, tries = ARGV[i] .. '-0', tonumber(ARGV[i + 1])
  if holds(Q, id, tries) then
    call('XCLAIM', Q.x, 'w', 'w', 0, id, 'RETRYCOUNT', tries - 1, 'JUSTID')
    call('ZREM', Q.v, id)
    call('ZADD', Q.r, tonumber(ARGV[i]) / 1000000, id)
  end
end
look_again(Q, time())
