#!lua flags=allow-oom
-- uses _queue.lua _group.lua
-- Remove a member for its inbox' holder, unless it joined again since.  KEYS: none are known before.
-- ARGV: P, group, inbox, local part, the sequence it joined at.  Returns 1, or 0 if nothing was removed.
local entry = call('HGET', members_key(ARGV[2], ARGV[3]), ARGV[4])
if not entry or struct.unpack('>d', entry) ~= tonumber(ARGV[5]) then return 0 end
return part({name = ARGV[3]}, ARGV[2], ARGV[4]) and 1 or 0
