#!lua
-- Append a chunk to a blob; _blobs.lua has the data model.
-- KEYS: b of the blob, loose, totals.  ARGV: P, the blob's key, bytes that are in it, bytes that the chunk adds, chunk, bytes all blobs may take.
-- Returns the bytes in it; {bytes all blobs take} when there is no room; where it does not go on like this the bytes in it as text, or "" if it is gone.
local P = ARGV[1]
-- uses _blobs.lua
local call = redis.call
local at, length = tonumber(ARGV[3]), tonumber(ARGV[4])
local t = call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local there = call('HGET', KEYS[1], 's')
local size = tonumber(there or 0)
if at ~= size then
  if length > 0 and at + length == size then return size end
  return there or ''
end

local function used()
  local totals = call('HMGET', KEYS[3], 'blobs', 'blobs_bytes')
  return tonumber(totals[1] or 0) * BLOB_EACH + tonumber(totals[2] or 0)
end

local more = length + (there and 0 or BLOB_EACH)
if used() + more > tonumber(ARGV[6]) then
  forget_loose(now)
  if used() + more > tonumber(ARGV[6]) then return {used()} end
end
if length > 0 then call('HSET', KEYS[1], string.format('%d', at / 65536), ARGV[5]) end
call('HSET', KEYS[1], 's', at + length)
if not there then call('HINCRBY', KEYS[3], 'blobs', 1) end
call('HINCRBY', KEYS[3], 'blobs_bytes', length)
if tonumber(call('HGET', KEYS[1], 'h') or 0) <= 0 then call('ZADD', KEYS[2], now + BLOB_LOOSE, ARGV[2]) end
return at + length
