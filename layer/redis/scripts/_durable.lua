-- What scripts about durable channels share; the names of _queue.lua and _blobs.lua are needed, too. layer/store/durable_queue.py
-- has the meaning of all this. A message is in one of four places:
--
--   y:{name}, e:{name}  ZSET, HASH  delayed, as in z and d of a plain queue
--   x:{name}            STREAM      field "e": the element; its group "w" has one consumer, "w", since v and r say
--                                   more than a name could. What the group was not given yet is in x only. An id is
--                                   microseconds of Unix time, so that it fits a score; PEL counts the tries.
--   v:{name}            ZSET        id → until when it is left to who took it
--   r:{name}            ZSET        id → when it is to be delivered again
--
-- and beside them
--
--   l:{name}            HASH        id → how often it was lost, where it was
--   q:{name}            LIST        at most one token, "": something can be taken. Whoever takes it runs take.lua
--                                   (elements in it are sent by somebody who does not know that the channel is durable)
--   m:{name}            HASH        as of a plain queue, and i: the last id; d: the soonest deadline
--   later               ZSET        queue → when it is to be looked at: something changes by itself, or a token may
--                                   have been lost with who took it
--   durable             HASH        pattern → visibility timeout in seconds, 0 for channels that are not

local SOON = 5 -- seconds within which each process looks at `later` anyway

local function durable(name)
  local Q = queue(name)
  local tagged = '{' .. name .. '}'
  Q.x, Q.v, Q.r, Q.l = P .. 'x:' .. tagged, P .. 'v:' .. tagged, P .. 'r:' .. tagged, P .. 'l:' .. tagged
  Q.z, Q.d = P .. 'y:' .. tagged, P .. 'e:' .. tagged
  Q.t = P .. 't:' .. tagged
  return Q
end

-- Whether there is a group; where it was lost, all that is in the stream is new to it.
local function grouped(Q)
  if call('EXISTS', Q.x) == 0 then return false end
  if redis.pcall('XPENDING', Q.x, 'w').err then
    call('XGROUP', 'CREATE', Q.x, 'w', '0')
    call('DEL', Q.v, Q.r, Q.l)
  end
  return true
end

local function pending(Q)
  return call('XLEN', Q.x) + call('ZCARD', Q.z)
end

local function token(Q)
  if call('LLEN', Q.q) == 0 then call('RPUSH', Q.q, '') end
end

local function score(key)
  return tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) or math.huge
end

-- Leave a token where something can be taken, and note when to look again.
local function look_again(Q, now)
  local again = score(Q.r)
  local next = math.min(score(Q.z), score(Q.v))
  if again > now then next = math.min(next, again) end
  if again <= now or call('XLEN', Q.x) > call('ZCARD', Q.v) + call('ZCARD', Q.r) then
    token(Q)
    next = math.min(next, now + SOON)
  end
  if next == math.huge then
    call('ZREM', P .. 'later', Q.name)
    return
  end
  local before = tonumber(call('ZSCORE', P .. 'later', Q.name)) or math.huge
  call('ZADD', P .. 'later', next, Q.name)
  if next < before and next < now + SOON and call('LLEN', P .. 'wake') == 0 then call('RPUSH', P .. 'wake', '') end
end

local function expires(Q, deadline)
  local x = tonumber(call('HGET', Q.m, 'd'))
  if deadline < math.huge and (not x or deadline < x) then call('HSET', Q.m, 'd', deadline) end
end

local function add(Q, element, now)
  local id = math.max(math.floor(now * 1000000), (tonumber(call('HGET', Q.m, 'i')) or 0) + 1)
  local text = string.format('%.0f', id)
  call('HSET', Q.m, 'i', text)
  return call('XADD', Q.x, text .. '-0', 'e', element)
end

local function remove(Q, id)
  call('XACK', Q.x, 'w', id)
  call('ZREM', Q.v, id)
  call('ZREM', Q.r, id)
  call('HDEL', Q.l, id)
  untie(Q.t, id)
  return call('XDEL', Q.x, id)
end

local function tries_of(Q, id)
  local known = call('XPENDING', Q.x, 'w', id, id, 1)[1]
  return known and known[4]
end

-- Whether a message is left to whoever took it for the `tries`th time.
local function holds(Q, id, tries)
  return grouped(Q) and call('ZSCORE', Q.v, id) and tries_of(Q, id) == tonumber(tries)
end

-- Drop a delayed message.
local function remove_delayed(Q, id, key)
  undelay(Q, id, key)
  untie(Q.t, id)
end

-- Move a delayed message into the stream, with what it holds.
local function deliver(Q, id, key, element, now)
  local to, tied = add(Q, element, now), call('HGET', Q.t, id)
  if tied then
    call('HDEL', Q.t, id)
    call('HSET', Q.t, to, tied)
  end
  undelay(Q, id, key)
end

-- Move what was delayed and is due into the stream.
local function refill(Q, now)
  for _, id in ipairs(call('ZRANGEBYSCORE', Q.z, '-inf', now)) do
    local _, key, element = record_of(Q, id)
    if element and deadline_of(element) > now then
      deliver(Q, id, key, element, now)
    else
      remove_delayed(Q, id, key or '')
    end
  end
end

-- Drop what has expired, but for what somebody has.
local function forget_expired(Q, now)
  local x = tonumber(call('HGET', Q.m, 'd'))
  if not x or x > now then return end
  local soonest = math.huge
  local function look(element, drop)
    local deadline = deadline_of(element)
    if deadline <= now then drop() elseif deadline < soonest then soonest = deadline end
  end
  for _, id in ipairs(call('ZRANGE', Q.z, 0, -1)) do
    local _, key, element = record_of(Q, id)
    look(element or '', function() remove_delayed(Q, id, key or '') end)
  end
  local from = '-'
  repeat
    local some = call('XRANGE', Q.x, from, '+', 'COUNT', 100)
    for _, entry in ipairs(some) do
      if not call('ZSCORE', Q.v, entry[1]) then look(entry[2][2], function() remove(Q, entry[1]) end) end
      from = '(' .. entry[1]
    end
  until #some < 100
  if soonest < math.huge then call('HSET', Q.m, 'd', soonest) else call('HDEL', Q.m, 'd') end
end
