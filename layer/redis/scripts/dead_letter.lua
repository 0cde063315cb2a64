#!lua
-- Keep a dead letter; the oldest go first.
--
--   dead     ZSET  id → Unix seconds;  letters  HASH  id → packed letter
--   totals   HASH  letters_dropped, letters_bytes
--
-- KEYS: dead, letters, totals.  ARGV: id, packed (channel, body, reason, traceback, tries), most entries, most bytes,
-- seconds they are kept.
local call = redis.call
local t = call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000

local function drop(id)
  local letter = call('HGET', KEYS[2], id)
  call('ZREM', KEYS[1], id)
  call('HDEL', KEYS[2], id)
  call('HINCRBY', KEYS[3], 'letters_bytes', -#(letter or ''))
  call('HINCRBY', KEYS[3], 'letters_dropped', 1)
end

call('ZADD', KEYS[1], now, ARGV[1])
call('HSET', KEYS[2], ARGV[1], ARGV[2])
local size = call('HINCRBY', KEYS[3], 'letters_bytes', #ARGV[2])
for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[5]), 'LIMIT', 0, 100)) do drop(id) end
while call('ZCARD', KEYS[1]) > tonumber(ARGV[3]) or (size > tonumber(ARGV[4]) and call('ZCARD', KEYS[1]) > 1) do
  drop(call('ZRANGE', KEYS[1], 0, 0)[1])
  size = tonumber(call('HGET', KEYS[3], 'letters_bytes'))
end
