#!lua
-- Put one message into a durable channel; _durable.lua has the data model.
-- KEYS: x, m, y, e, q, t of the queue, the mark of `once`, later, wake, loose; where it is not the only one of a run, two
-- more: _run.lua.
-- ARGV: P, name, expiry, capacity, delay, key or "", whether once, window in seconds, the element without its two times, keys of blobs with a space between them.
-- Returns 1, 0 (once was seen), {depth} when it is full, or the key of a blob that is gone; {-1, …}: another command of the
-- run found it full.
local before, after, count = KEYS[11], KEYS[12], 1
if after then
-- uses _run.lua
end

-- Where there is room and nothing is asked for, this is all. It stands before the functions for everything else, which
-- take longer to make than this takes.
local forever = tonumber(ARGV[3]) >= 1000000000
if forever and ARGV[5] == '0' and ARGV[6] == '' and ARGV[7] == '0' and ARGV[10] == '' and redis.call('ZCARD', KEYS[3]) == 0 then
  local books = redis.call('HMGET', KEYS[2], 'n', 'i')
  if books[1] and redis.call('XLEN', KEYS[1]) < tonumber(ARGV[4]) then
    local t = redis.call('TIME')
    local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
    local id = string.format('%.0f', math.max(math.floor(now * 1000000), (tonumber(books[2]) or 0) + 1))
    redis.call('XADD', KEYS[1], id .. '-0', 'e', struct.pack('>dd', math.huge, now) .. ARGV[9])
    redis.call('HSET', KEYS[2], 'n', books[1] + 1, 'i', id)
    redis.call('PEXPIRE', KEYS[2], 604800000)
    if redis.call('LLEN', KEYS[5]) == 0 then redis.call('RPUSH', KEYS[5], '') end
    redis.call('ZADD', KEYS[8], 'LT', now + 5, ARGV[2])
    return 1
  end
end

-- uses _queue.lua _blobs.lua _durable.lua
local name, expiry, capacity, delay, key = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local once, window, tail = ARGV[7] == '1', tonumber(ARGV[8]), ARGV[9]
local Q = durable(name)
local now = time()
local due = now + delay
for key in string.gmatch(ARGV[10], '%S+') do
  if call('EXISTS', blob(key)) == 0 then return key end
end
refill(Q, now)
if once and call('EXISTS', KEYS[7]) == 1 then return 0 end
local replaced = key ~= '' and call('HGET', Q.d, '#' .. key)
if not replaced and pending(Q) >= capacity then
  forget_expired(Q, now)
  if pending(Q) >= capacity then
    if after and after ~= Q.m then call('DEL', after) end
    call('HINCRBY', Q.m, 'f', 1)
    call('PEXPIRE', Q.m, BOOKS)
    call('SADD', P .. 'queues', name)
    return {pending(Q)}
  end
end
local held, id = hold(ARGV[10]), nil
if replaced then remove_delayed(Q, replaced, key) end
local element = struct.pack('>dd', due + expiry, due) .. tail
expires(Q, due + expiry)
if delay > 0 then
  id = string.format('%017.0f.%08d', now * 1000000, call('HINCRBY', Q.m, 'o', 1))
  call('ZADD', Q.z, due, id)
  call('HSET', Q.d, id, struct.pack('>I4I2', math.min(capacity, 4294967295), #key) .. key .. element)
  if key ~= '' then call('HSET', Q.d, '#' .. key, id) end
else
  id = add(Q, element, now)
end
if held ~= '' then call('HSET', KEYS[6], id, held) end
sent(Q, 1, now)
call('PEXPIRE', Q.m, BOOKS)
if once then call('SET', KEYS[7], '', 'PX', math.max(1, milliseconds(window))) end
look_again(Q, now)
return 1
