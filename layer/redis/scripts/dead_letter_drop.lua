#!lua flags=allow-oom
-- Drop a dead letter; _letters.lua has the data model.  KEYS: dead, letters, totals, tied, loose.  ARGV: P, id, whether blobs that only it held are kept for an hour.
-- Returns 1, or 0 if there is none.
local P = ARGV[1]
-- uses _blobs.lua _letters.lua
return drop_letter(ARGV[2], ARGV[3] == '1' and tonumber(redis.call('TIME')[1]) or nil) and 1 or 0
