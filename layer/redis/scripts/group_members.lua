#!lua flags=allow-oom
-- uses _queue.lua _group.lua
-- Tell the members of a group.  KEYS: none are known before.  ARGV: P, group.
-- Returns {channel, packed info or "", …}.
local group = ARGV[2]
local now = time()
local result = {}
local plain = call('HGETALL', P .. 'p:{' .. group .. '}')
for i = 1, #plain, 2 do
  if struct.unpack('>d', plain[i + 1]) > now then
    result[#result + 1], result[#result + 2] = plain[i], string.sub(plain[i + 1], 17)
  else
    call('HDEL', P .. 'p:{' .. group .. '}', plain[i])
  end
end
for _, name in ipairs(call('HKEYS', group_key(group))) do
  if met(name, now, SLICE) then
    local members = call('HGETALL', members_key(group, name))
    for i = 1, #members, 2 do
      local n = #result
      result[n + 1], result[n + 2] = name .. members[i], string.sub(members[i + 1], 17)
    end
  else
    call('HDEL', group_key(group), name)
  end
end
return result
