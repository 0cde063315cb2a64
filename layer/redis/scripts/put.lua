#!lua
-- uses _queue.lua
-- Put messages at the tail of one queue: the way nearly all messages go.
-- KEYS: q, m, z of the queue.  ARGV: P, name, expiry in seconds, capacity, most bytes or "", then elements without their two times.
-- Returns the depth, where all were taken; else {depth, number of the first that was refused, of the second, …}.
local name, expiry, capacity = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = time()
local deadline = now + expiry
local head = struct.pack('>dd', deadline, now)
local values, count = {}, #ARGV - 5
for i = 1, count do values[i] = head .. ARGV[i + 5] end

local Q = {
  name = name, q = KEYS[1], m = KEYS[2], z = KEYS[3], d = P .. 'd:{' .. name .. '}',
  inbox = string.sub(name, -1) == '!', single = false,
}
local refused = {0}
if Q.inbox then
  -- Bytes are bounded too, and notes do not count, so that the length of the list tells neither.
  local most, size = tonumber(ARGV[5]), 0
  for i = 1, count do size = size + size_of(values[i]) end
  local delayed = call('ZCARD', Q.z)
  if delayed == 0 and length(Q) + count <= capacity and bytes(Q) + size <= most then
    append(Q, values, deadline, count, size, now)
  else
    if delayed > 0 then promote(Q, now) end
    for i = 1, count do
      if room(Q, size_of(values[i]), capacity, most, now) then
        append(Q, {values[i]}, deadline, 1, size_of(values[i]), now)
      else
        refused[#refused + 1] = i
      end
    end
  end
else
  local depth = 0
  if call('ZCARD', Q.z) == 0 then
    depth = call('RPUSH', Q.q, unpack(values))
    if depth <= capacity then
      outlive(Q, depth == count, deadline, now)
      sent(Q, count, now)
      return depth
    end
    -- Too many: out again, before anybody could take them, and in as far as there is room.
    call('RPOP', Q.q, count)
  else
    promote(Q, now)
  end
  trim(Q, now)
  local free = capacity - length(Q) - call('ZCARD', Q.z)
  local some = {}
  for i = 1, count do
    if i <= free then some[i] = values[i] else refused[#refused + 1] = i end
  end
  if #some > 0 then append(Q, some, deadline, #some, 0, now) end
end
sent(Q, count - #refused + 1, now)
refused[1] = length(Q)
if #refused == 1 then return refused[1] end
call('HINCRBY', Q.m, 'f', #refused - 1)
return refused
