#!lua flags=allow-oom
-- Tell which channels are durable, and learn what others told.
--
--   durable  HASH  pattern → visibility timeout in seconds, 0 for channels that are not durable
--
-- KEYS: durable.  ARGV: pattern, seconds as text, …
-- Returns {"known", pattern, seconds, …}, or {"other", pattern, seconds, pattern, seconds}: two of the same channels.
-- layer/store/patterns.py has the same rule, `overlap`.
local function overlap(one, other)
  local fits = {}
  for n = 0, #other do fits[n] = string.gsub(string.sub(other, 1, n), '%*', '') == '' end
  for i = 1, #one do
    local sign, before = string.sub(one, i, i), fits
    fits = {[0] = before[0] and sign == '*'}
    for n = 1, #other do
      local against = string.sub(other, n, n)
      if sign == '*' or against == '*' then
        fits[n] = before[n] or fits[n - 1]
      else
        fits[n] = sign == against and before[n - 1]
      end
    end
  end
  return fits[#other]
end

local known = redis.call('HGETALL', KEYS[1])
for i = 1, #ARGV, 2 do
  for n = 1, #known, 2 do
    if tonumber(ARGV[i + 1]) ~= tonumber(known[n + 1]) and overlap(ARGV[i], known[n]) then
      return {'other', ARGV[i], ARGV[i + 1], known[n], known[n + 1]}
    end
  end
end
for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return {'known', unpack(redis.call('HGETALL', KEYS[1]))}
