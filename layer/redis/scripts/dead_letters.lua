#!lua flags=no-writes
-- Tell all dead letters, oldest first, or one; _letters.lua has the data model.
-- KEYS: dead, letters.  ARGV: seconds they are kept, id or "", and perhaps how many of the newest are told.
-- Returns {id, Unix seconds as text, packed letter, …}.
local call = redis.call
local oldest = tonumber(call('TIME')[1]) - tonumber(ARGV[1])
local result, ids = {}, nil
if ARGV[3] then
  ids = call('ZRANGE', KEYS[1], math.max(call('ZCARD', KEYS[1]) - tonumber(ARGV[3]), 0), -1, 'WITHSCORES')
  while ids[2] and tonumber(ids[2]) < oldest do ids = {unpack(ids, 3)} end
elseif ARGV[2] == '' then
  ids = call('ZRANGEBYSCORE', KEYS[1], oldest, '+inf', 'WITHSCORES')
else
  local at = call('ZSCORE', KEYS[1], ARGV[2])
  ids = at and tonumber(at) >= oldest and {ARGV[2], at} or {}
end
for i = 1, #ids, 2 do
  local letter = call('HGET', KEYS[2], ids[i])
  if letter then
    local n = #result
    result[n + 1], result[n + 2], result[n + 3] = ids[i], ids[i + 1], letter
  end
end
return result
