#!lua flags=no-writes
-- uses _queue.lua
-- Tell who is alive.  KEYS: listeners, alive.  ARGV: P.  Returns {listener, packed info, …}.
local result = {}
for _, listener in ipairs(call('ZRANGEBYSCORE', KEYS[2], time(), '+inf')) do
  result[#result + 1], result[#result + 2] = listener, call('HGET', KEYS[1], listener) or ''
end
return result
