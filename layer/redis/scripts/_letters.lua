-- Dead letters; the oldest go first. The figures are those of layer/store/letters.py.
--
--   dead     ZSET  id → Unix seconds;  letters  HASH  id → packed (channel, body, reason, traceback, tries)
--   totals   HASH  letters_dropped, letters_bytes

local LETTERS, LETTER_BYTES, LETTER_AGE = 10000, 268435456, 1209600

local function drop_letter(id)
  local letter = redis.call('HGET', P .. 'letters', id)
  redis.call('ZREM', P .. 'dead', id)
  redis.call('HDEL', P .. 'letters', id)
  if letter then redis.call('HINCRBY', P .. 'totals', 'letters_bytes', -#letter) end
  return letter
end

local function bury(id, letter, now)
  local function forget(old)
    drop_letter(old)
    redis.call('HINCRBY', P .. 'totals', 'letters_dropped', 1)
  end
  drop_letter(id)
  redis.call('ZADD', P .. 'dead', now, id)
  redis.call('HSET', P .. 'letters', id, letter)
  local size = redis.call('HINCRBY', P .. 'totals', 'letters_bytes', #letter)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', P .. 'dead', '-inf', now - LETTER_AGE, 'LIMIT', 0, 100)) do
    forget(old)
  end
  while redis.call('ZCARD', P .. 'dead') > LETTERS or (size > LETTER_BYTES and redis.call('ZCARD', P .. 'dead') > 1) do
    forget(redis.call('ZRANGE', P .. 'dead', 0, 0)[1])
    size = tonumber(redis.call('HGET', P .. 'totals', 'letters_bytes'))
  end
end
