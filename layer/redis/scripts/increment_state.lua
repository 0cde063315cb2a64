#!lua
-- Add one to a counter; put_state.lua has the data model.
-- KEYS: s of the key.  ARGV: milliseconds it lives from its first increment.  Returns the count, or -1: no counter.
local call = redis.call
local present, counter = unpack(call('HMGET', KEYS[1], 'n', 'c'))
if present and counter ~= '1' then return -1 end
local t = call('TIME')
local version = math.max((tonumber(present) or 0) + 1, tonumber(t[1]) * 1000000 + tonumber(t[2]))
local count = call('HINCRBY', KEYS[1], 'v', 1)
call('HSET', KEYS[1], 'n', string.format('%.0f', version), 'c', '1')
if not present then call('PEXPIRE', KEYS[1], ARGV[1]) end
return count
