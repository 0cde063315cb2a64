#!lua flags=allow-oom
-- uses _queue.lua _blobs.lua _durable.lua
-- Drop a message, whoever has it.
-- KEYS: x, v, r, l, y, e, m of the queue, later, wake.  ARGV: P, name, id.  Returns 1, or 0 if there is none.
local Q, id = durable(ARGV[2]), ARGV[3]
local _, key, element = record_of(Q, id)
if element then
  remove_delayed(Q, id, key)
  return 1
end
return string.find(id, '^%d+$') and remove(Q, id .. '-0') or 0
