#!lua
-- Put one message with all that a send may ask for, or into a "?" channel; _queue.lua has the data model.
-- KEYS: q, m, z, d of the queue, the mark of `once`, due, wake; where it is not the only one of a run, two more: _run.lua.
-- ARGV: P, name, expiry, capacity, most bytes or "", delay, key or "", whether once, window in seconds, who gets credit or "", whether last, the element without its two times.
-- Returns 1, 0 (once was seen), or {depth} when it is full; {-1, …}: so it was for another command of the run.
local before, after, count = KEYS[8], KEYS[9], 1
if after then
-- uses _run.lua
end

-- uses _queue.lua
local name, expiry, capacity, most = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local delay, key, once, window = tonumber(ARGV[6]), ARGV[7], ARGV[8] == '1', tonumber(ARGV[9])
local credit, last, tail = ARGV[10], ARGV[11] == '1', ARGV[12]
local Q = queue(name)
local now = time()
local due = now + delay
local element = struct.pack('>dd', due + expiry, due) .. tail
local size = size_of(element)

if call('ZCARD', Q.z) > 0 then promote(Q, now) end
if once and call('EXISTS', KEYS[5]) == 1 then return 0 end
local replaced = key ~= '' and call('HGET', Q.d, '#' .. key)
if not last and not replaced and not room(Q, size, capacity, most, now) then
  if after and after ~= Q.m then call('DEL', after) end
  call('HINCRBY', Q.m, 'f', 1)
  call('PEXPIRE', Q.m, BOOKS, 'NX')
  if not Q.single then call('SADD', P .. 'queues', name) end
  return {length(Q)}
end
if replaced then
  local _, _, old = record_of(Q, replaced)
  undelay(Q, replaced, key)
  if old then account(Q, 0, -size_of(old)) end
end
if Q.single then
  call('HSET', Q.m, 'l', expiry)
  if credit ~= '' then call('HSET', Q.m, 'c', credit) end
end
if delay > 0 then
  local id = string.format('%017.0f.%08d', now * 1000000, call('HINCRBY', Q.m, 'o', 1))
  call('ZADD', Q.z, due, id)
  call('HSET', Q.d, id, struct.pack('>I4I2', math.min(capacity, 4294967295), #key) .. key .. element)
  if key ~= '' then call('HSET', Q.d, '#' .. key, id) end
  account(Q, 0, size)
  if not Q.single then
    -- The books of what is delayed must outlive it, whatever the statistics do.
    local at = milliseconds(due + expiry) + 1000
    for _, books in ipairs({Q.z, Q.d}) do
      if call('PEXPIRETIME', books) < at then call('PEXPIREAT', books, at) end
    end
  end
  local first = call('ZRANGE', KEYS[6], 0, 0, 'WITHSCORES')
  call('ZADD', KEYS[6], 'LT', due, name)
  if (not first[1] or due < tonumber(first[2])) and call('LLEN', KEYS[7]) == 0 then
    call('RPUSH', KEYS[7], '')
  end
else
  append(Q, {element}, due + expiry, 1, size, now)
end
sent(Q, 1, now)
if Q.single then renew(Q, delay + expiry, now) end
if once then call('SET', KEYS[5], '', 'PX', math.max(1, milliseconds(window))) end
return 1
