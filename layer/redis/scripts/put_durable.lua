#!lua
-- uses _queue.lua _durable.lua
-- Put one message into a durable channel.
-- KEYS: x, m, y, e, q of the queue, the mark of `once`, later, wake.
-- ARGV: P, name, expiry, capacity, delay, key or "", whether once, window in seconds, the element without its two times.
-- Returns 1, 0 (once was seen), or {depth} when it is full.
local name, expiry, capacity, delay, key = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local once, window, tail = ARGV[7] == '1', tonumber(ARGV[8]), ARGV[9]
local Q = durable(name)
local now = time()
local due = now + delay
refill(Q, now)
if once and call('EXISTS', KEYS[6]) == 1 then return 0 end
local replaced = key ~= '' and call('HGET', Q.d, '#' .. key)
if not replaced and pending(Q) >= capacity then
  forget_expired(Q, now)
  if pending(Q) >= capacity then
    call('HINCRBY', Q.m, 'f', 1)
    call('PEXPIRE', Q.m, BOOKS)
    call('SADD', P .. 'queues', name)
    return {pending(Q)}
  end
end
if replaced then undelay(Q, replaced, key) end
local element = struct.pack('>dd', due + expiry, due) .. tail
expires(Q, due + expiry)
if delay > 0 then
  local id = string.format('%017.0f.%08d', now * 1000000, call('HINCRBY', Q.m, 'o', 1))
  call('ZADD', Q.z, due, id)
  call('HSET', Q.d, id, struct.pack('>I4I2', math.min(capacity, 4294967295), #key) .. key .. element)
  if key ~= '' then call('HSET', Q.d, '#' .. key, id) end
else
  add(Q, element, now)
end
sent(Q, 1, now)
call('PEXPIRE', Q.m, BOOKS)
if once then call('SET', KEYS[6], '', 'PX', math.max(1, milliseconds(window))) end
look_again(Q, now)
return 1
