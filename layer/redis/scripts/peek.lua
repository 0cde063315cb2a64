#!lua flags=allow-oom
-- uses _queue.lua _blobs.lua _letters.lua _durable.lua _durable_take.lua
-- Return the first messages, leaving them there.  KEYS: q of the queue.  ARGV: P, name, limit.  Returns elements.
local Q, limit = queue(ARGV[2]), tonumber(ARGV[3])
local now = time()
promote(Q, now)
trim(Q, now)
local found, at = {}, 0
while #found < limit do
  local some = call('LRANGE', Q.q, at, at + 99)
  if #some == 0 then break end
  for _, element in ipairs(some) do
    if #found < limit and counts(element) then found[#found + 1] = element end
  end
  at = at + 100
end
local D = durable(ARGV[2])
refill(D, now)
lapse(D, now)
if grouped(D) then
  for _, id in ipairs(call('ZRANGEBYSCORE', D.r, '-inf', now, 'LIMIT', 0, limit)) do
    if #found < limit then found[#found + 1] = call('XRANGE', D.x, id, id)[1][2][2] end
  end
  -- What the group was not given yet stands behind the last it was given.
  local from, last = '-', nil
  for _, group in ipairs(call('XINFO', 'GROUPS', D.x)) do
    for i = 1, #group, 2 do
      if group[i] == 'last-delivered-id' then last = group[i + 1] end
    end
  end
  if last and #found < limit then
    for _, entry in ipairs(call('XRANGE', D.x, '(' .. last, '+', 'COUNT', limit - #found)) do
      if deadline_of(entry[2][2]) > now then found[#found + 1] = entry[2][2] end
    end
  end
  look_again(D, now) -- the token may have gone with what has expired
end
return found
