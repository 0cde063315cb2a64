#!lua
-- Keep a dead letter; _letters.lua has the data model.  KEYS: dead, letters, totals, tied, loose.  ARGV: P, id, packed letter, keys of blobs with a space between them.
local P = ARGV[1]
-- uses _blobs.lua _letters.lua
local t = redis.call('TIME')
bury(ARGV[2], ARGV[3], tonumber(t[1]) + tonumber(t[2]) / 1000000, ARGV[4])
