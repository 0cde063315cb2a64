#!lua flags=allow-oom
-- Drop a dead letter; _letters.lua has the data model.  KEYS: dead, letters, totals.  ARGV: P, id.
-- Returns 1, or 0 if there is none.
local P = ARGV[1]
-- uses _letters.lua
return drop_letter(ARGV[2]) and 1 or 0
