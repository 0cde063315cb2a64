-- Dead letters; the oldest go first. The figures are those of layer/store/letters.py; _blobs.lua is needed, too.
--
--   dead     ZSET  id → Unix seconds;  letters  HASH  id → packed (channel, body, reason, traceback, tries)
--   totals   HASH  letters_dropped, letters_bytes

local LETTERS, LETTER_BYTES, LETTER_AGE = 10000, 268435456, 1209600

-- Drop a letter, and hold its blobs no more; they are kept for an hour from `now` on if that is given.
local function drop_letter(id, now)
  local letter = redis.call('HGET', P .. 'letters', id)
  redis.call('ZREM', P .. 'dead', id)
  redis.call('HDEL', P .. 'letters', id)
  if letter then redis.call('HINCRBY', P .. 'totals', 'letters_bytes', -#letter) end
  untie(P .. 'tied', id, now)
  return letter
end

-- Keep a letter; `blobs` are those of its message.
local function bury(id, letter, now, blobs)
  local function forget(old)
    drop_letter(old)
    redis.call('HINCRBY', P .. 'totals', 'letters_dropped', 1)
  end
  local held = hold(blobs or '')
  drop_letter(id)
  if held ~= '' then redis.call('HSET', P .. 'tied', id, held) end
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
