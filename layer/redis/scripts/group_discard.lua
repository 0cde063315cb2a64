#!lua flags=allow-oom
-- uses _queue.lua _group.lua
-- Remove a channel from a group.  KEYS: none are known before.  ARGV: P, group, queue, local part.
-- Returns 1, or 0 if it was no member.
local group, name = ARGV[2], ARGV[3]
if string.sub(name, -1) ~= '!' then return call('HDEL', P .. 'p:{' .. group .. '}', name) end
local Q = inbox(name)
if not part(Q, group, ARGV[4]) then return 0 end
tell(Q, DISCARD, ARGV[4], {group, call('INCR', P .. 'sequence')}, '', time())
return 1
