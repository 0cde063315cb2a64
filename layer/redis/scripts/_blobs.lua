-- Blobs, and who holds which; layer/store/blobs.py has the meaning of all this.
--
--   b:{key}   HASH  a blob. 0, 1, …: its chunks; s: bytes in it; h: how many messages and dead letters hold it
--   loose     ZSET  blob that nobody holds → when it goes, in seconds
--   t:{name}  HASH  id of a message of a durable channel, delayed or not → blobs it holds, with a space between them
--   tied      HASH  id of a dead letter → likewise
--   totals    HASH  blobs: how many there are, blobs_bytes: bytes in them

local BLOB_LOOSE, BLOB_EACH = 3600, 1024 -- layer/store/blobs.py

local function blob(key)
  return P .. 'b:{' .. key .. '}'
end

local function drop_blob(key)
  local size = tonumber(redis.call('HGET', blob(key), 's'))
  redis.call('ZREM', P .. 'loose', key)
  if not size then return end
  redis.call('UNLINK', blob(key))
  redis.call('HINCRBY', P .. 'totals', 'blobs', -1)
  redis.call('HINCRBY', P .. 'totals', 'blobs_bytes', 0 - size) -- "-0" is no integer
end

-- Hold blobs once more; returns those that are there, in the same form.
local function hold(keys)
  local held = {}
  for key in string.gmatch(keys, '%S+') do
    if redis.call('EXISTS', blob(key)) == 1 then
      redis.call('HINCRBY', blob(key), 'h', 1)
      redis.call('ZREM', P .. 'loose', key)
      held[#held + 1] = key
    end
  end
  return table.concat(held, ' ')
end

-- Hold blobs once less. Those that nobody holds any more are dropped, or kept for an hour from `now` on if that is given.
local function release(keys, now)
  for key in string.gmatch(keys, '%S+') do
    if redis.call('EXISTS', blob(key)) == 1 and redis.call('HINCRBY', blob(key), 'h', -1) <= 0 then
      if now then redis.call('ZADD', P .. 'loose', now + BLOB_LOOSE, key) else drop_blob(key) end
    end
  end
end

-- Let go of what is held under an id, and hold it no more.
local function untie(ties, id, now)
  local tied = redis.call('HGET', ties, id)
  if tied then
    redis.call('HDEL', ties, id)
    release(tied, now)
  end
end

local function forget_loose(now)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', P .. 'loose', '-inf', now, 'LIMIT', 0, 100)) do drop_blob(key) end
end
