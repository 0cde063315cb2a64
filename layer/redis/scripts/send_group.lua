#!lua
-- uses _queue.lua _group.lua
-- Send to all members of a group: one element an inbox, one a plain channel. What finds no room is dropped and counted.
-- KEYS: none are known before.  ARGV: P, group, body, expiry, then for each queue with members that get nothing: its
-- name, packed list of their local parts, and these local parts, joined by a space.
local GROUP = 1
local group, body = ARGV[2], ARGV[3]
local now = time()
local deadline = now + tonumber(ARGV[4])
local excluded = {}
for i = 5, #ARGV, 2 do excluded[ARGV[i]] = cmsgpack.unpack(ARGV[i + 1]) end

local function offer(Q, element, most)
  if call('ZCARD', Q.z) > 0 then promote(Q, now) end
  if not room(Q, #body, Q.capacity, most, now) then
    call('HINCRBY', Q.m, 'f', 1)
    call('HINCRBY', P .. 'totals', 'dropped', 1)
    return
  end
  append(Q, {element}, deadline, 1, #body, now)
  if Q.single then
    call('HSET', Q.m, 'l', deadline - now)
    renew(Q, deadline - now, now)
  end
  sent(Q, 1, now)
end

local plain = call('HGETALL', P .. 'p:{' .. group .. '}')
for i = 1, #plain, 2 do
  local until_, capacity = struct.unpack('>dd', plain[i + 1])
  if until_ <= now then
    call('HDEL', P .. 'p:{' .. group .. '}', plain[i])
  elseif not excluded[plain[i]] then
    local Q = queue(plain[i])
    Q.capacity = capacity
    offer(Q, pack(deadline, now, 0, '', '', body), nil)
  end
end
local names = call('HKEYS', group_key(group))
if #names == 0 then return end
local sequence = last_sequence()
local all
for _, name in ipairs(names) do
  local Q = met(name, now)
  local except = excluded[name]
  if not Q then
    call('HDEL', group_key(group), name)
  elseif not except then
    all = all or pack(deadline, now, GROUP, group, cmsgpack.pack({sequence}), body)
    offer(Q, all, Q.most)
  else
    local left = call('HLEN', members_key(group, name))
    for _, found in ipairs(call('HMGET', members_key(group, name), unpack(except))) do
      if found then left = left - 1 end
    end
    if left > 0 then
      offer(Q, pack(deadline, now, GROUP, group, cmsgpack.pack({sequence, except}), body), Q.most)
    end
  end
end
