#!lua flags=allow-oom
-- uses _queue.lua _blobs.lua _durable.lua
-- Remove a delayed message.  KEYS: z, d of the queue.  ARGV: P, name, key.  Returns 1, or 0 if none has this key.
local Q, now = queue(ARGV[2]), time()
promote(Q, now)
if call('HEXISTS', Q.d, '#' .. ARGV[3]) == 0 then
  Q = durable(ARGV[2])
  refill(Q, now)
end
local id = call('HGET', Q.d, '#' .. ARGV[3])
if not id then return 0 end
local _, _, element = record_of(Q, id)
undelay(Q, id, ARGV[3])
if Q.t then untie(Q.t, id) end
if element then account(Q, 0, -size_of(element)) end
return 1
