#!lua flags=allow-oom
-- Be done with a message, whoever has it; _durable.lua has the data model.
-- KEYS: x, v, r, l of the queue.  ARGV: P, name, id.  Returns 1, or 0 if it is gone.
local id = ARGV[3] .. '-0'
redis.call('XACK', KEYS[1], 'w', id)
redis.call('ZREM', KEYS[2], id)
redis.call('ZREM', KEYS[3], id)
redis.call('HDEL', KEYS[4], id)
return redis.call('XDEL', KEYS[1], id)
