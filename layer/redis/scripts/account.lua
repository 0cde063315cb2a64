#!lua flags=allow-oom
-- uses _queue.lua
-- Count what was taken from an inbox by BLMPOP.  KEYS: q, m, z of the inbox.  ARGV: P, name, elements that count, bytes.
local Q = {name = ARGV[2], q = KEYS[1], m = KEYS[2], z = KEYS[3], inbox = true, single = false}
account(Q, -tonumber(ARGV[3]), -tonumber(ARGV[4]), false)
