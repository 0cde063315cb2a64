#!lua flags=allow-oom
-- uses _queue.lua _group.lua
-- Drop messages, groups, state and dead letters. Leases and announcements stay: they tell of processes.
-- KEYS: none are known before.  ARGV: P, P as a pattern.
local now = time()
local kept = {[P .. 'leases'] = true, [P .. 'listeners'] = true, [P .. 'alive'] = true, [P .. 'heard'] = true,
  [P .. 'sequence'] = true, [P .. 'durable'] = true}
local cursor = '0'
repeat
  local found = call('SCAN', cursor, 'MATCH', ARGV[2] .. '*', 'COUNT', 1000)
  cursor = found[1]
  for _, key in ipairs(found[2]) do
    if not kept[key] and string.sub(key, 1, #P + 2) ~= P .. 'm:' then call('UNLINK', key) end
  end
until cursor == '0'
local inboxes = {}
for _, name in ipairs(call('ZRANGE', P .. 'leases', 0, -1)) do
  local Q = inbox(name)
  inboxes[Q.m] = true
  call('HDEL', Q.m, 'n', 'f', 'a', 'r', 'x', 'o', 'u', 's')
  if not Q.known or not Q.lease then
    call('DEL', Q.m)
    call('ZREM', P .. 'leases', name)
  elseif Q.lease > now then
    note(Q, RELOAD, '', cmsgpack.pack({}), '', math.huge, now)
  end
end
cursor = '0'
repeat
  local found = call('SCAN', cursor, 'MATCH', ARGV[2] .. 'm:*', 'COUNT', 1000)
  cursor = found[1]
  for _, key in ipairs(found[2]) do
    -- A released or lapsed inbox stays known, so that later adds to it are ignored.
    if not inboxes[key] and call('HEXISTS', key, 'e') == 0 then call('UNLINK', key) end
  end
until cursor == '0'
