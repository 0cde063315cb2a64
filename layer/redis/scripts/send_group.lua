#!lua
-- Send to all members of a group: one element an inbox, one a plain channel. What finds no room is dropped and counted.
-- KEYS: none are known before.  ARGV: P, group, body, expiry, then for each queue with members that get nothing: its
-- name, packed list of their local parts.
local GROUP = 1
local prefix, group, body = ARGV[1], ARGV[2], ARGV[3]
local names = redis.call('HKEYS', prefix .. 'g:{' .. group .. '}')
local plain = redis.call('HGETALL', prefix .. 'p:{' .. group .. '}')
if #names == 0 and #plain == 0 then return end
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local deadline = now + tonumber(ARGV[4])
local excluded = {}
for i = 5, #ARGV, 2 do excluded[ARGV[i]] = cmsgpack.unpack(ARGV[i + 1]) end

local sequence = tonumber(redis.call('GET', prefix .. 'sequence')) or 0
local extra = cmsgpack.pack({sequence})
local element = struct.pack('>ddBBI4', deadline, now, GROUP, #group, #extra) .. group .. extra .. body

-- Where an inbox is leased, nothing in it is delayed and there is room, this is all. It stands before the functions for
-- everything else, which take longer to make than this takes for one.
local at, size, others = math.ceil(deadline * 1000), #body, {}
for _, name in ipairs(names) do
  local tagged = '{' .. name .. '}'
  local q, m = prefix .. 'q:' .. tagged, prefix .. 'm:' .. tagged
  local f = redis.call('HMGET', m, 'e', 'k', 'b', 'u', 's', 'n', 'x')
  local fits = f[6] and (tonumber(f[1]) or 0) > now and not excluded[name]
    and redis.call('ZCARD', prefix .. 'z:' .. tagged) == 0
  if fits then
    local depth = redis.call('RPUSH', q, element)
    local used, bytes, most = 1, size, tonumber(f[3])
    if depth > 1 then
      used, bytes = math.min(depth - 1, tonumber(f[4]) or 0) + 1, (tonumber(f[5]) or 0) + size
    end
    if used <= tonumber(f[2]) and (used == 1 or not most or bytes <= most) then
      redis.call('HSET', m, 'u', used, 's', bytes, 'n', f[6] + 1)
      if depth == 1 then
        redis.call('PEXPIREAT', q, at)
      elseif redis.call('PEXPIREAT', q, at, 'GT') == 0 and redis.call('PEXPIRETIME', q) > at
        and (not f[7] or deadline < tonumber(f[7])) then
        redis.call('HSET', m, 'x', deadline)
      end
    else
      redis.call('RPOP', q)
      fits = false
    end
  end
  if not fits then others[#others + 1] = name end
end
if #others == 0 and #plain == 0 then return end

-- uses _queue.lua _group.lua
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
for _, name in ipairs(others) do
  local Q = met(name, now, SLICE)
  local except = excluded[name]
  if not Q then
    call('HDEL', group_key(group), name)
  elseif not except then
    offer(Q, element, Q.most)
  else
    local members = members_key(group, name)
    local left = call('HLEN', members)
    for i = 1, #except, 1000 do
      for _, found in ipairs(call('HMGET', members, unpack(except, i, math.min(i + 999, #except)))) do
        if found then left = left - 1 end
      end
    end
    if left > 0 then
      offer(Q, pack(deadline, now, GROUP, group, cmsgpack.pack({sequence, except}), body), Q.most)
    end
  end
end
