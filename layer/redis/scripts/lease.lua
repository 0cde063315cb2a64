#!lua flags=allow-oom
-- uses _queue.lua _group.lua
-- Take an inbox for a server.  KEYS: none are known before.
-- ARGV: P, inbox, holder, seconds, whether lasting, life, capacity, most bytes.
-- Returns the snapshot to begin from, or 0 if another process holds it.
local name, holder = ARGV[2], ARGV[3]
local now = time()
local Q = inbox(name)
if Q.known and Q.lease and Q.lease > now and Q.holder ~= holder then return 0 end
local life = tonumber(ARGV[6])
Q = met(name, now, ALL) or know(name, life, ARGV[7], ARGV[8], now)
Q.holder, Q.lasting, Q.life = holder, ARGV[5] == '1', life
Q.capacity, Q.most, Q.lease = tonumber(ARGV[7]), tonumber(ARGV[8]), now + tonumber(ARGV[4])
save(Q, now)
drop_notes(Q)
return snapshot(name)
