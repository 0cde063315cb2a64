#!lua flags=allow-oom
-- uses _queue.lua
-- Put elements that were taken at the head of their queue again, in the order they are given.
-- KEYS: q, m, z of the queue.  ARGV: P, name, elements.
local Q = queue(ARGV[2])
local now = time()
local head = call('LINDEX', Q.q, 0)
local soonest, latest = head and deadline_of(head) or math.huge, 0
local count, messages, size = #ARGV - 2, 0, 0
for i = #ARGV, 3, -1 do
  local element = ARGV[i]
  local deadline = deadline_of(element)
  soonest, latest = math.min(soonest, deadline), math.max(latest, deadline)
  if counts(element) then messages, size = messages + 1, size + size_of(element) end
  call('LPUSH', Q.q, element)
end
account(Q, messages, size, not head)
if Q.single then
  local life = tonumber(call('HGET', Q.m, 'l'))
  if not life then
    -- It had expired as a whole: it lives as the first of these did.
    local deadline, queued = struct.unpack('>dd', ARGV[3])
    life = deadline - queued
    call('HSET', Q.m, 'l', life)
  end
  renew(Q, life, now)
  return
end
local at = milliseconds(latest == math.huge and now + DAY or latest)
if not head then call('PEXPIREAT', Q.q, at) else call('PEXPIREAT', Q.q, at, 'GT') end
if (head or count > 1) and soonest < math.huge then disorder(Q, soonest) end
