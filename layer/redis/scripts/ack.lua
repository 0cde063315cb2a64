#!lua flags=allow-oom
-- Be done with a message, whoever has it; _durable.lua and _blobs.lua have the data model.
-- KEYS: x, v, r, l, t of the queue.  ARGV: P, name, id.  Returns 1, or 0 if it is gone.
local id = ARGV[3] .. '-0'
redis.call('XACK', KEYS[1], 'w', id)
redis.call('ZREM', KEYS[2], id)
redis.call('ZREM', KEYS[3], id)
redis.call('HDEL', KEYS[4], id)
local done = redis.call('XDEL', KEYS[1], id)
if redis.call('HEXISTS', KEYS[5], id) == 0 then return done end

local P = ARGV[1]
-- uses _blobs.lua
untie(KEYS[5], id)
return done
