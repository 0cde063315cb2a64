#!lua flags=no-writes
-- Tell all dead letters, oldest first; dead_letter.lua has the data model.
-- KEYS: dead, letters.  ARGV: seconds they are kept.  Returns {id, Unix seconds as text, packed letter, …}.
local call = redis.call
local now = tonumber(call('TIME')[1])
local result = {}
local ids = call('ZRANGEBYSCORE', KEYS[1], now - tonumber(ARGV[1]), '+inf', 'WITHSCORES')
for i = 1, #ids, 2 do
  local letter = call('HGET', KEYS[2], ids[i])
  if letter then
    local n = #result
    result[n + 1], result[n + 2], result[n + 3] = ids[i], ids[i + 1], letter
  end
end
return result
