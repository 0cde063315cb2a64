#!lua flags=allow-oom
-- uses _queue.lua
-- Remove a delayed message.  KEYS: z, d of the queue.  ARGV: P, name, key.  Returns 1, or 0 if none has this key.
local Q = queue(ARGV[2])
promote(Q, time())
local id = call('HGET', Q.d, '#' .. ARGV[3])
if not id then return 0 end
local _, _, element = record_of(Q, id)
undelay(Q, id, ARGV[3])
if element then account(Q, 0, -size_of(element)) end
return 1
