#!lua
-- Put messages at the tail of one queue: the way nearly all messages go. _queue.lua has the data model.
-- KEYS: q, m, z of the queue; where it is not the only one of a run, two more: _run.lua.
-- ARGV: P, name, expiry in seconds, capacity, most bytes or "", then elements without their two times.
-- Returns the depth where all were taken; else {depth, number of the first that was refused, of the second, …}: all from
-- the first that finds no room. A depth of -1: so did one that another command of the run was to put.
local q, m, z, before, after = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local expiry, capacity, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local deadline = now + expiry
local head = struct.pack('>dd', deadline, now)
local values, count, size = {}, #ARGV - 5, 0
for i = 1, count do values[i] = head .. ARGV[i + 5] end

if after then
-- uses _run.lua
end

-- Where nothing is delayed and there is room, this is all. It stands before the functions for everything else, which
-- take longer to make than this takes.
if redis.call('ZCARD', z) == 0 then
  local depth = redis.call('RPUSH', q, unpack(values))
  local first = depth == count
  local fits = depth <= capacity
  if most then
    for i = 6, #ARGV do
      local name, extra = struct.unpack('>BI4', ARGV[i], 2)
      size = size + #ARGV[i] - 6 - name - extra
    end
    local books = redis.call('HMGET', m, 'u', 's', 'n')
    local used, bytes = tonumber(books[1]) or 0, tonumber(books[2]) or 0
    if first then used, bytes = 0, 0 end
    used, bytes = used + count, bytes + size
    fits = used <= capacity and bytes <= most
    if fits and books[3] then
      redis.call('HSET', m, 'u', used, 's', bytes, 'n', books[3] + count)
    else
      fits = false
    end
  elseif fits and redis.call('HINCRBY', m, 'n', count) == count then
    redis.call('HINCRBY', m, 'n', -count)
    fits = false
  end
  if fits then
    local at = math.ceil(deadline * 1000)
    if first then
      redis.call('PEXPIREAT', q, at)
      redis.call('PEXPIRE', m, 604800000, 'GT')
      return depth
    elseif redis.call('PEXPIREAT', q, at, 'GT') == 1 or redis.call('PEXPIRETIME', q) <= at then
      return depth
    end
  end
  -- Out again, before anybody could take them, and in with all care.
  redis.call('RPOP', q, count)
  if fits then
    redis.call('HINCRBY', m, 'n', -count)
    if most then
      redis.call('HINCRBY', m, 'u', -count)
      redis.call('HINCRBY', m, 's', -size)
    end
  end
end

-- uses _queue.lua
local Q = queue(ARGV[2])
if call('ZCARD', z) > 0 then promote(Q, now) end
trim(Q, now)
local taken = 0
if Q.inbox then
  -- Bytes are bounded too, and notes do not count, so that the length of the list tells neither.
  while taken < count and room(Q, size_of(values[taken + 1]), capacity, most, now) do
    taken = taken + 1
    append(Q, {values[taken]}, deadline, 1, size_of(values[taken]), now)
  end
else
  taken = math.max(0, math.min(count, capacity - length(Q) - call('ZCARD', z)))
  if taken > 0 then append(Q, {unpack(values, 1, taken)}, deadline, taken, 0, now) end
end
sent(Q, taken, now)
if taken == count then return length(Q) end
if after and after ~= m then call('DEL', after) end
call('HINCRBY', Q.m, 'f', count - taken)
local refused = {length(Q)}
for i = taken + 1, count do refused[#refused + 1] = i end
return refused
