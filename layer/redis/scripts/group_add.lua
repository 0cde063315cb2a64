#!lua
-- uses _queue.lua _group.lua
-- Add a channel to a group, or renew it.  KEYS: none are known before.
-- ARGV: P, group, queue, local part, packed info or "", life, capacity, most bytes or "".
local group, name, local_, info, life = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local now = time()
if string.sub(name, -1) ~= '!' then
  local members, at = P .. 'p:{' .. group .. '}', milliseconds(now + life)
  call('HSET', members, name, struct.pack('>dd', now + life, tonumber(ARGV[7])) .. info)
  if call('PEXPIRETIME', members) < at then call('PEXPIREAT', members, at) end
  return
end
local Q = met(name, now, SLICE) or know(name, life, ARGV[7], ARGV[8], now)
if not Q.lease then
  if holds(Q) <= now then forget_members(Q, ALL) end
  Q.until_ = now + life
  save(Q, now)
elseif holds(Q) <= now then
  return
end
tell(Q, ADD, local_, {group, join(Q, group, local_, info)}, info, now)
