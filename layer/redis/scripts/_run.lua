-- Where several commands of one run put into one queue, none may put anything there once one before it was refused, or
-- not done at all. So each leaves a mark for the next, which takes it away:
--
--   h:{name}:ID  STRING  "": all before this was taken; it lives for 10 s
--
-- `before` and `after` are the keys of these marks, or m where there is none; `count` is how many messages are put.
if before ~= KEYS[2] and redis.call('DEL', before) == 0 then
  redis.call('HINCRBY', KEYS[2], 'f', count)
  redis.call('PEXPIRE', KEYS[2], 604800000, 'NX')
  local refused = {-1}
  for i = 1, count do refused[i + 1] = i end
  return refused
end
if after ~= KEYS[2] then redis.call('SET', after, '', 'PX', 10000) end
