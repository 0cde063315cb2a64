-- What scripts about queues share. Every name below is under the prefix P, such as "trunkline:".
--
--   q:{name}  LIST  elements; it expires with the last of them
--   m:{name}  HASH  n sent, f refused, a since when, r what rates were computed from
--                   x   the soonest deadline that may stand behind a later one (absent: they stand in order)
--                   o   how many were delayed so far
--                   u   inboxes: elements that count against capacity, s: bytes of them and of delayed ones
--                   l   "?" channels: seconds each send or receive renews them by, c: who gets credit; after "@"
--                       it is one of another place (layer/redis/routing.py), whom the reader tells
--             (inboxes have more fields: _group.lua)
--   z:{name}  ZSET  id → when it is due, in seconds
--   d:{name}  HASH  id → capacity (4 bytes), length of key (2 bytes), key, element; "#key" → id
--   o:{name}:once  STRING  "": something was sent with this `once`; it lives for the window
--   due       ZSET  queue → when the first of its delayed messages is due
--   wake      LIST  at most one token: whoever takes it looks at `due`
--   queues    SET   names, for statistics
--
-- An element is its deadline and the time it was queued (8 bytes each, seconds, big-endian doubles), kind and length
-- of name (1 byte each), length of extra (4 bytes), name, extra (MessagePack), body. Kinds: layer/store/element.py;
-- those up to PART count against capacity, the others are notes. 2 is PART, 6 is CREDIT.

local call = redis.call
local P = ARGV[1]
local DAY = 86400
local BOOKS = 7 * DAY * 1000 -- milliseconds the counts of a queue are kept that nobody uses

local function time()
  local t = call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function milliseconds(seconds)
  return math.ceil(seconds * 1000)
end

local function queue(name)
  local tagged = '{' .. name .. '}'
  return {
    name = name, q = P .. 'q:' .. tagged, m = P .. 'm:' .. tagged, z = P .. 'z:' .. tagged, d = P .. 'd:' .. tagged,
    inbox = string.sub(name, -1) == '!', single = string.find(name, '?', 1, true) ~= nil,
  }
end

-- What is too short for an element is taken for one that has expired.
local function deadline_of(element)
  return #element < 22 and 0 or (struct.unpack('>d', element))
end

local function counts(element)
  return #element >= 22 and string.byte(element, 17) <= 2
end

local function size_of(element)
  if #element < 22 then return 0 end
  local name, extra = struct.unpack('>BI4', element, 18)
  return #element - 22 - name - extra
end

local function pack(deadline, now, kind, name, extra, body)
  return struct.pack('>ddBBI4', deadline, now, kind, #name, #extra) .. name .. extra .. body
end

-- How many elements that count stand in the list. The list may have expired under the count.
local function length(Q)
  local all = call('LLEN', Q.q)
  if Q.inbox and all > 0 then
    return math.min(all, tonumber(call('HGET', Q.m, 'u')) or 0)
  end
  return all
end

local function bytes(Q)
  return tonumber(call('HGET', Q.m, 's')) or 0
end

-- Counts of an inbox after elements were put (first: into an empty list) or taken.
local function account(Q, messages, size, first)
  if not Q.inbox then return end
  if first then call('HSET', Q.m, 'u', messages) end
  if first and call('ZCARD', Q.z) == 0 then
    call('HSET', Q.m, 's', size)
    call('PEXPIRE', Q.m, BOOKS, 'NX')
  elseif messages ~= 0 or size ~= 0 then
    if not first and call('HINCRBY', Q.m, 'u', messages) < 0 then call('HSET', Q.m, 'u', 0) end
    if call('HINCRBY', Q.m, 's', size) < 0 then
      call('HSET', Q.m, 's', 0)
      call('PEXPIRE', Q.m, BOOKS, 'NX')
    end
  end
end

-- Remember that a deadline stands behind a later one.
local function disorder(Q, deadline)
  local x = tonumber(call('HGET', Q.m, 'x'))
  if not x or deadline < x then call('HSET', Q.m, 'x', deadline) end
end

-- Let the list live as long as its last element; notes, as long as the memberships they tell of may be of use.
local function outlive(Q, first, deadline, now)
  if Q.single then return end
  local at = milliseconds(deadline == math.huge and now + math.max(DAY, Q.life or 0) or deadline)
  if first then
    call('PEXPIREAT', Q.q, at)
    call('PEXPIRE', Q.m, BOOKS, 'GT')
  elseif call('PEXPIREAT', Q.q, at, 'GT') == 0 and call('PEXPIRETIME', Q.q) > at then
    disorder(Q, deadline)
  end
end

-- Put elements of one deadline at the tail.
local function append(Q, elements, deadline, messages, size, now)
  local count = #elements
  local first = call('RPUSH', Q.q, unpack(elements)) == count
  outlive(Q, first, deadline, now)
  account(Q, messages, size, first)
end

-- Count what was sent; a queue that is new is registered.
local function sent(Q, count, now)
  if call('HINCRBY', Q.m, 'n', count) == count then
    call('HSETNX', Q.m, 'a', now)
    call('PEXPIRE', Q.m, BOOKS, 'NX')
    if not Q.single then call('SADD', P .. 'queues', Q.name) end
  end
end

-- Let a "?" channel live for its life from now on.
local function renew(Q, life, now)
  for _, key in ipairs({Q.q, Q.m, Q.z, Q.d}) do
    call('PEXPIREAT', key, milliseconds(now + life))
  end
end

-- Take delayed messages out of the books.
local function undelay(Q, id, key)
  call('ZREM', Q.z, id)
  call('HDEL', Q.d, id)
  if key ~= '' then call('HDEL', Q.d, '#' .. key) end
end

local function record_of(Q, id)
  local record = call('HGET', Q.d, id)
  if not record then return nil end
  local capacity, length_of_key, at = struct.unpack('>I4I2', record)
  return capacity, string.sub(record, at, at + length_of_key - 1), string.sub(record, at + length_of_key)
end

-- Drop all that has expired, wherever it stands.
local function trim(Q, now)
  if Q.single then return end
  for _, id in ipairs(call('ZRANGEBYSCORE', Q.z, '-inf', now)) do
    local _, key, element = record_of(Q, id)
    if not element then
      call('ZREM', Q.z, id)
    elseif deadline_of(element) <= now then
      undelay(Q, id, key)
      account(Q, 0, -size_of(element))
    end
  end
  while true do
    local head = call('LINDEX', Q.q, 0)
    if not head or deadline_of(head) > now then break end
    call('LPOP', Q.q)
    if counts(head) then account(Q, -1, -size_of(head)) end
  end
  local x = tonumber(call('HGET', Q.m, 'x'))
  if not x or x > now then return end
  local kept, soonest, lives = {}, math.huge, call('PEXPIRETIME', Q.q)
  for _, element in ipairs(call('LRANGE', Q.q, 0, -1)) do
    local deadline = deadline_of(element)
    if deadline > now then
      kept[#kept + 1] = element
      if deadline < soonest then soonest = deadline end
    elseif counts(element) then
      account(Q, -1, -size_of(element))
    end
  end
  call('DEL', Q.q)
  for i = 1, #kept, 1000 do
    call('RPUSH', Q.q, unpack(kept, i, math.min(i + 999, #kept)))
  end
  if lives > 0 then call('PEXPIREAT', Q.q, lives) end
  if soonest < math.huge then call('HSET', Q.m, 'x', soonest) else call('HDEL', Q.m, 'x') end
end

-- Move what has become due to the tail, as far as there is room for it, and not more than 1000 at once: Redis does
-- nothing else meanwhile.
local function promote(Q, now)
  local left = 1000
  while true do
    local first = call('ZRANGE', Q.z, 0, 0, 'WITHSCORES')
    if left == 0 or not first[1] or tonumber(first[2]) > now then return first[2] end
    left = left - 1
    local capacity, key, element = record_of(Q, first[1])
    if element then
      local deadline = deadline_of(element)
      if deadline > now or Q.single then
        if length(Q) >= capacity then
          trim(Q, now)
          if length(Q) >= capacity then return first[2] end
        end
        append(Q, {element}, deadline, 1, 0, now)
      else
        account(Q, 0, -size_of(element))
      end
    end
    undelay(Q, first[1], key or '')
  end
end

-- Drop what has expired, if there is no room as it is; tell whether there is then.
local function room(Q, size, capacity, most, now)
  for attempt = 1, 2 do
    local used = length(Q) + call('ZCARD', Q.z)
    if used < capacity and (not most or used == 0 or bytes(Q) + size <= most) then return true end
    if attempt == 1 then trim(Q, now) end
  end
  return false
end

-- Put a note of the layer into an inbox.
local function note(Q, kind, name, extra, info, deadline, now)
  append(Q, {pack(deadline, now, kind, name, extra, info)}, deadline, 0, 0, now)
end

-- Take up to `limit` elements that have not expired.
local function take(Q, limit, now)
  if call('ZCARD', Q.z) > 0 then promote(Q, now) end
  local taken, messages, size = {}, 0, 0
  while #taken < limit do
    local some = call('LPOP', Q.q, limit - #taken)
    if not some then break end
    for _, element in ipairs(some) do
      if counts(element) then messages, size = messages + 1, size + size_of(element) end
      if Q.single or deadline_of(element) > now then taken[#taken + 1] = element end
    end
  end
  account(Q, -messages, -size, false)
  if Q.single and #taken > 0 then
    local life, credit = unpack(call('HMGET', Q.m, 'l', 'c'))
    if life then renew(Q, tonumber(life), now) end
    if credit and string.sub(credit, 1, 1) ~= '@' then
      local mark = string.find(credit, '!', 1, true)
      local extra = cmsgpack.pack({Q.name, #taken})
      local until_ = now + (tonumber(life) or 60)
      note(queue(string.sub(credit, 1, mark)), 6, string.sub(credit, mark + 1), extra, '', until_, now)
    end
  end
  return taken
end
