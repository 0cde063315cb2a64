#!lua flags=allow-oom
-- uses _queue.lua _group.lua
-- Hold an inbox for longer, and learn what is listened to.  KEYS: none are known before.
-- ARGV: P, inbox, holder, seconds.
-- Returns {whether it is still held, time, channel, seconds left, whether in order, …}, times as text.
-- It needs no memory to speak of, and without it a Redis that is full would forget every server.
local now = time()
forget_the_dead(now)
local Q = inbox(ARGV[2])
local held = Q.known and Q.holder == ARGV[3] and Q.lease ~= nil and Q.lease > now
if held then
  Q.lease = now + tonumber(ARGV[4])
  save(Q, now)
end
local result = {held and 1 or 0, string.format('%.6f', now)}
local heard = call('HGETALL', P .. 'heard')
for i = 1, #heard, 2 do
  local until_, ordered = struct.unpack('>dB', heard[i + 1])
  if until_ > now then
    local n = #result
    result[n + 1], result[n + 2], result[n + 3] = heard[i], string.format('%.6f', until_ - now), ordered
  else
    call('HDEL', P .. 'heard', heard[i])
  end
end
return result
