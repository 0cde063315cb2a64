#!lua flags=allow-oom
-- Count what was taken from an inbox by BLMPOP; _queue.lua has the data model.
-- KEYS: m of the inbox.  ARGV: elements that count, bytes.
for field, taken in pairs({u = ARGV[1], s = ARGV[2]}) do
  if redis.call('HINCRBY', KEYS[1], field, -taken) < 0 then
    redis.call('HSET', KEYS[1], field, 0)
    redis.call('PEXPIRE', KEYS[1], 604800000, 'NX')
  end
end
