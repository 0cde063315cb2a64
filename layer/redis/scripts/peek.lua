#!lua flags=allow-oom
-- uses _queue.lua
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
return found
