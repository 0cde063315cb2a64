-- What scripts about groups share, after _queue.lua.
--
--   g:{group}          HASH  inbox → "", of the inboxes that have members
--   n:{group}:{inbox}  HASH  local part → sequence of its last add, sequence since which it is a member (8 bytes each,
--                            big-endian doubles), packed info or nothing
--   p:{group}          HASH  plain channel → until when (8 bytes), capacity (8 bytes), packed info or nothing
--   w:{inbox}          SET   its groups
--   m:{inbox}          HASH  beside the counts of its queue (_queue.lua):
--                            t until when memberships live that nobody leased: an inbox is known if it has this
--                            h holder, e until when it is leased (absent: never was), L whether it is lasting
--                            i seconds its memberships live without a lease, w whether a plain reader took notes
--                            k capacity, b most bytes
--   leases             ZSET  inbox → until when its memberships hold
--   sequence           STRING  of the last change of any membership
--   totals             HASH  dropped: copies of group messages that found a full channel
--
-- What becomes of an inbox that nobody reads: layer/store/groups.py.

local ADD, DISCARD, RELOAD = 3, 4, 5
local MOST_NOTES = 100000
local SLICE, ALL = 1000, 1000000000 -- groups to forget at once: so that Redis is not held for long, or all of them

local function inbox(name)
  local Q = queue(name)
  local f = call('HMGET', Q.m, 't', 'h', 'e', 'L', 'i', 'w', 'k', 'b')
  Q.known = f[1] and true or false
  Q.until_, Q.holder, Q.lease, Q.lasting = tonumber(f[1]) or 0, f[2] or '', tonumber(f[3]), f[4] == '1'
  Q.life, Q.followed, Q.capacity, Q.most = tonumber(f[5]) or 0, f[6] == '1', tonumber(f[7]), tonumber(f[8])
  return Q
end

-- Until when its memberships hold.
local function holds(Q)
  if not Q.lease then return Q.until_ end
  return Q.lease + (Q.lasting and Q.life or 0)
end

-- Whether somebody reads, or may yet read, the notes.
local function noted(Q, now)
  return (Q.lease or Q.until_) > now
end

local function save(Q, now)
  call('HSET', Q.m, 't', Q.until_, 'h', Q.holder, 'L', Q.lasting and 1 or 0, 'i', Q.life,
    'w', Q.followed and 1 or 0, 'k', Q.capacity, 'b', Q.most)
  if Q.lease then call('HSET', Q.m, 'e', Q.lease) end
  call('ZADD', P .. 'leases', holds(Q), Q.name)
  -- That it was there is remembered for another life, so that later adds to it are ignored.
  local at = milliseconds(math.max(holds(Q), now) + math.max(Q.life, DAY))
  if call('PEXPIRETIME', Q.m) < at then call('PEXPIREAT', Q.m, at) end
  call('SADD', P .. 'queues', Q.name)
end

-- Drop the notes. thorough: even where there are none, so that the list lives no longer than what is in it.
local function drop_notes(Q, thorough)
  if not thorough and call('LLEN', Q.q) == length(Q) then return end
  local kept, latest = {}, 0
  for _, element in ipairs(call('LRANGE', Q.q, 0, -1)) do
    if counts(element) then
      kept[#kept + 1] = element
      latest = math.max(latest, deadline_of(element))
    end
  end
  call('DEL', Q.q)
  for i = 1, #kept, 1000 do
    call('RPUSH', Q.q, unpack(kept, i, math.min(i + 999, #kept)))
  end
  if latest > 0 then call('PEXPIREAT', Q.q, milliseconds(latest)) end
end

local function members_key(group, name)
  return P .. 'n:{' .. group .. '}:{' .. name .. '}'
end

local function group_key(group)
  return P .. 'g:{' .. group .. '}'
end

-- Forget the memberships of an inbox in up to `most` groups; return in how many there were any.
local function forget_members(Q, most)
  local groups = call('SPOP', P .. 'w:{' .. Q.name .. '}', most)
  for _, group in ipairs(groups) do
    call('UNLINK', members_key(group, Q.name))
    call('HDEL', group_key(group), Q.name)
  end
  if #groups == most then return most end
  if call('ZREM', P .. 'leases', Q.name) == 0 then return #groups end
  drop_notes(Q, true)
  if Q.known and not Q.lease then
    Q.holder, Q.followed = '', false
    call('HSET', Q.m, 'h', '', 'w', 0)
  end
  return #groups
end

-- Forget an inbox that is gone, or begin to: `leases` tells of it until all is done. Return how many groups it was in.
-- What else stands in it expires: its process may have been cut off, and come back.
local function bury(Q, most)
  if Q.lease and not Q.lasting then call('SREM', P .. 'queues', Q.name) end
  return forget_members(Q, most)
end

-- Return an inbox whose memberships hold; forget those of one that is gone, in up to `most` groups.
local function met(name, now, most)
  local Q = inbox(name)
  if not Q.known then return nil end
  if holds(Q) > now then return Q end
  bury(Q, most)
  return nil
end

-- Return an inbox, and make it known.
local function know(name, life, capacity, most, now)
  local Q = inbox(name)
  if not Q.known then
    Q.until_, Q.life, Q.capacity, Q.most = now + life, life, tonumber(capacity), tonumber(most)
    save(Q, now)
  end
  return Q
end

-- Forget the memberships of inboxes that are gone, some at a time.
local function forget_the_dead(now)
  local left = SLICE
  for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'leases', '-inf', now, 'LIMIT', 0, 10)) do
    local Q = inbox(name)
    if Q.known and holds(Q) > now then
      call('ZADD', P .. 'leases', holds(Q), name)
    elseif left > 0 then
      left = left - bury(Q, left)
    end
  end
end

local function last_sequence()
  return tonumber(call('GET', P .. 'sequence')) or 0
end

-- Return {sequence so far, group, local part, sequence of its last add, since when, packed info or "", …}.
local function snapshot(name)
  local result = {last_sequence()}
  for _, group in ipairs(call('SMEMBERS', P .. 'w:{' .. name .. '}')) do
    local members = call('HGETALL', members_key(group, name))
    for i = 1, #members, 2 do
      local n = #result
      result[n + 1], result[n + 2] = group, members[i]
      result[n + 3], result[n + 4] = struct.unpack('>dd', members[i + 1])
      result[n + 5] = string.sub(members[i + 1], 17)
    end
  end
  return result
end

local function tell(Q, kind, name, extra, info, now)
  if not noted(Q, now) then return end
  if call('LLEN', Q.q) - length(Q) < MOST_NOTES then
    note(Q, kind, name, cmsgpack.pack(extra), info, math.huge, now)
    return
  end
  drop_notes(Q)
  if Q.lease then
    note(Q, RELOAD, '', cmsgpack.pack({}), '', math.huge, now)
  else
    call('HSET', Q.m, 'h', '', 'w', 1)
  end
end

-- Write one membership of an inbox that is alive; return its sequence.
local function join(Q, group, name, info)
  local sequence = call('INCR', P .. 'sequence')
  call('SADD', P .. 'w:{' .. Q.name .. '}', group)
  call('HSET', group_key(group), Q.name, '')
  local members, since = members_key(group, Q.name), sequence
  local present = call('HGET', members, name)
  if present then since = struct.unpack('>d', present, 9) end
  call('HSET', members, name, struct.pack('>dd', sequence, since) .. info)
  return sequence
end

-- Remove one membership; tell whether there was one.
local function part(Q, group, name)
  local members = members_key(group, Q.name)
  if call('HDEL', members, name) == 0 then return false end
  if call('EXISTS', members) == 0 then
    call('HDEL', group_key(group), Q.name)
    call('SREM', P .. 'w:{' .. Q.name .. '}', group)
  end
  return true
end

-- Let a plain reader follow an inbox' notes; return what to begin from, or nil.
local function attach(name, holder, life, capacity, most, now)
  local Q = met(name, now, ALL) or know(name, life, capacity, most, now)
  if Q.lease and Q.lease > now then return snapshot(name) end
  if Q.holder == holder then return nil end
  local from_the_beginning = not Q.lease and not Q.followed
  Q.holder, Q.followed = holder, true
  save(Q, now)
  if from_the_beginning then return {0} end
  drop_notes(Q)
  return snapshot(name)
end
