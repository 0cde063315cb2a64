#!lua
-- Set a value.
--
--   s:{key}  HASH  v packed value, or a counter; n version; c "1" for a counter
--
-- A version is the time in microseconds, so that a key that was deleted and made again never has one it had before.
-- KEYS: s of the key.  ARGV: packed value, milliseconds, version it must have or "".  Returns the version, or 0.
local call = redis.call
local present = tonumber(call('HGET', KEYS[1], 'n')) or 0
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= present then return 0 end
local t = call('TIME')
local version = math.max(present + 1, tonumber(t[1]) * 1000000 + tonumber(t[2]))
call('HSET', KEYS[1], 'v', ARGV[1], 'n', string.format('%.0f', version), 'c', '')
call('PEXPIRE', KEYS[1], ARGV[2])
return version
