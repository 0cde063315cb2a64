#!lua flags=allow-oom
-- uses _queue.lua _group.lua
-- Write down members that an inbox' holder has and Redis has lost; who is there already was added since.
-- KEYS: none are known before.  ARGV: P, inbox, holder, whether these are the last, then group, local part, packed info
-- or "" of each.  Returns 0 if another process holds it, else 1, or after the last the snapshot to begin from.
local name = ARGV[2]
local Q = inbox(name)
if not Q.lease or Q.lease <= time() or Q.holder ~= ARGV[3] then return 0 end
local sequence = call('INCR', P .. 'sequence')
local head, groups = struct.pack('>dd', sequence, sequence), {}
for i = 5, #ARGV, 3 do
  local group = ARGV[i]
  if call('HSETNX', members_key(group, name), ARGV[i + 1], head .. ARGV[i + 2]) == 1 then
    call('HSET', group_key(group), name, '')
    groups[#groups + 1] = group
  end
end
if #groups > 0 then call('SADD', P .. 'w:{' .. name .. '}', unpack(groups)) end
return ARGV[4] == '1' and snapshot(name) or 1
